/* SPDX-License-Identifier: MIT
 *
 * A C++ program that reaches malloc through operator new alone: nothing in it names malloc, and the linker must bring
 * the pools in all the same. When memory runs out the new-handlers are called, then std::bad_alloc is thrown.
 */
#include <cstdint>
#include <cstdio>
#include <map>
#include <new>
#include <string>

#include "poolmalloc.h"

static int calls;

static void
handler()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

static bool
fails_as_it_should(std::size_t size)
{
    std::set_new_handler(handler);
    try {
        char *volatile block = new char[size];
        delete[] block;
        return false;
    } catch (const std::bad_alloc &) {
        return calls == 3;
    }
}

int
main()
{
    std::map<int, std::string> words;
    for (int i = 0; i < 1000; i++)
        words[i] = std::string(static_cast<std::size_t>(i % 100), 'x');
    bool pooled = pm_is_pooled(&words.begin()->second) != 0;
    volatile std::size_t impossible = SIZE_MAX / 4;
    bool failed = fails_as_it_should(impossible);
    char *volatile none = new (std::nothrow) char[impossible];
    if (pooled && failed && none == nullptr)
        return 0;
    std::fprintf(stderr, "program.cpp: pooled %d, failed as it should %d, nothrow %p\n", pooled, failed,
                 static_cast<void *>(none));
    return 1;
}
