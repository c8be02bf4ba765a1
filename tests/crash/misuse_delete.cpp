/* SPDX-License-Identifier: MIT
 *
 * The same for C++: `misuse_delete <case>` misuses operator delete. See misuse.c.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <new>
#include <unistd.h>

namespace
{

constexpr int count = 2000;
constexpr std::size_t size = 48;

unsigned char *many[count];

void
say(const void *pointer, const void *block)
{
    char text[100];
    int used = std::snprintf(text, sizeof text, "%p %p\n", pointer, block);
    if (write(STDOUT_FILENO, text, static_cast<std::size_t>(used)) != used)
        _exit(3);
}

void
take_many()
{
    for (unsigned char *&block : many)
        block = static_cast<unsigned char *>(::operator new(size));
}

void
delete_the_others()
{
    for (int i = 1; i < count; i++)
        ::operator delete(many[i]);
}

void
double_delete()
{
    take_many();
    say(many[0], many[0]);
    ::operator delete(many[0]);
    ::operator delete(many[0], size);
    delete_the_others();
}

void
double_delete_array()
{
    take_many();
    say(many[0], many[0]);
    ::operator delete[](many[0], std::nothrow);
    ::operator delete[](many[0], size, std::align_val_t(16));
    delete_the_others();
}

void
delete_inside()
{
    take_many();
    void *volatile address = many[0] + 24;
    say(address, many[0]);
    ::operator delete(address);
    delete_the_others();
}

void
delete_in_free_pool()
{
    take_many();
    ::operator delete(many[0]);
    delete_the_others();
    malloc_trim(0);
    say(many[count / 2], nullptr);
    ::operator delete[](many[count / 2]);
}

void
delete_stack()
{
    alignas(16) volatile char local[64] = {0};
    void *volatile address = const_cast<char *>(&local[16]);
    say(address, nullptr);
    ::operator delete(address);
}

void
delete_misaligned()
{
    alignas(16) static char data[64];
    void *volatile address = data + 17;
    say(address, nullptr);
    ::operator delete(address, std::align_val_t(64));
}

const struct {
    const char *name;
    void (*commit)();
} cases[] = {
    {"double_delete", double_delete}, {"double_delete_array", double_delete_array},
    {"delete_inside", delete_inside}, {"delete_in_free_pool", delete_in_free_pool},
    {"delete_stack", delete_stack},   {"delete_misaligned", delete_misaligned},
};

} // namespace

int
main(int argument_count, char **arguments)
{
    for (const auto &misuse : cases) {
        if (argument_count == 2 && std::strcmp(arguments[1], misuse.name) == 0) {
            misuse.commit();
            return 0;
        }
    }
    return 2;
}
