/* SPDX-License-Identifier: MIT
 *
 * C++ operator new and delete in every form of C++17: where the blocks come from, how they are aligned, which delete
 * takes them, and what happens when there is no memory: new-handlers, std::bad_alloc, nullptr.
 */
#include "support/check.h"
#include "support/names.h"
#include "support/suite.h"

#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <poolmalloc.h>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace
{

constexpr std::size_t impossible = static_cast<std::size_t>(PTRDIFF_MAX) + 1;

struct new_form {
    const char *name;
    void *(*get)(std::size_t size, std::size_t alignment);
    bool aligned;
    bool throws;
};

// The compiler may leave out a new-expression, but not a call to the function by its name.
const new_form new_forms[] = {
    {"new", [](std::size_t n, std::size_t) { return ::operator new(n); }, false, true},
    {"new[]", [](std::size_t n, std::size_t) { return ::operator new[](n); }, false, true},
    {"new nothrow", [](std::size_t n, std::size_t) { return ::operator new(n, std::nothrow); }, false, false},
    {"new[] nothrow", [](std::size_t n, std::size_t) { return ::operator new[](n, std::nothrow); }, false, false},
    {"new aligned", [](std::size_t n, std::size_t a) { return ::operator new(n, std::align_val_t(a)); }, true, true},
    {"new[] aligned", [](std::size_t n, std::size_t a) { return ::operator new[](n, std::align_val_t(a)); }, true,
     true},
    {"new aligned nothrow",
     [](std::size_t n, std::size_t a) { return ::operator new(n, std::align_val_t(a), std::nothrow); }, true, false},
    {"new[] aligned nothrow",
     [](std::size_t n, std::size_t a) { return ::operator new[](n, std::align_val_t(a), std::nothrow); }, true, false},
};

struct delete_form {
    const char *name;
    void (*put)(void *block, std::size_t size, std::size_t alignment);
};

const delete_form delete_forms[] = {
    {"delete", [](void *p, std::size_t, std::size_t) { ::operator delete(p); }},
    {"delete[]", [](void *p, std::size_t, std::size_t) { ::operator delete[](p); }},
    {"delete nothrow", [](void *p, std::size_t, std::size_t) { ::operator delete(p, std::nothrow); }},
    {"delete[] nothrow", [](void *p, std::size_t, std::size_t) { ::operator delete[](p, std::nothrow); }},
    {"delete sized", [](void *p, std::size_t n, std::size_t) { ::operator delete(p, n); }},
    {"delete[] sized", [](void *p, std::size_t n, std::size_t) { ::operator delete[](p, n); }},
    {"delete aligned", [](void *p, std::size_t, std::size_t a) { ::operator delete(p, std::align_val_t(a)); }},
    {"delete[] aligned", [](void *p, std::size_t, std::size_t a) { ::operator delete[](p, std::align_val_t(a)); }},
    {"delete aligned nothrow",
     [](void *p, std::size_t, std::size_t a) { ::operator delete(p, std::align_val_t(a), std::nothrow); }},
    {"delete[] aligned nothrow",
     [](void *p, std::size_t, std::size_t a) { ::operator delete[](p, std::align_val_t(a), std::nothrow); }},
    {"delete sized aligned",
     [](void *p, std::size_t n, std::size_t a) { ::operator delete(p, n, std::align_val_t(a)); }},
    {"delete[] sized aligned",
     [](void *p, std::size_t n, std::size_t a) { ::operator delete[](p, n, std::align_val_t(a)); }},
    {"free", [](void *p, std::size_t, std::size_t) { mem.free(p); }},
};

void *
get_malloc(std::size_t size, std::size_t)
{
    return mem.malloc(size);
}

void
one_pair(const char *name, void *(*get)(std::size_t, std::size_t), const delete_form &form, std::size_t size,
         std::size_t alignment)
{
    unsigned char *first = static_cast<unsigned char *>(get(size, alignment));
    unsigned char *second = static_cast<unsigned char *>(get(size, alignment));
    REQUIRE(first != nullptr && second != nullptr && first != second, "%s of %zu bytes", name, size);
    REQUIRE(reinterpret_cast<std::uintptr_t>(first) % alignment == 0, "%s of %zu bytes aligned to %zu: %p", name, size,
            alignment, static_cast<void *>(first));
    REQUIRE(mem.usable_size(first) >= size, "%s of %zu bytes", name, size);
    REQUIRE(size > 512 || alignment > 512 || pm_is_pooled(first), "%s of %zu bytes is not from the pools", name, size);
    std::memset(first, 1, mem.usable_size(first));
    std::memset(second, 2, mem.usable_size(second));
    REQUIRE(size == 0 || first[size - 1] == 1, "%s of %zu bytes overlaps", name, size);
    form.put(first, size, alignment);
    form.put(second, size, alignment);
}

void
refuse_and_throw()
{
    throw std::string("the handler's own exception");
}

/* How often each handler was called, and what the first one leaves installed. */
int calls[3];

void
third_handler()
{
    calls[2]++;
    std::set_new_handler(nullptr);
}

void
second_handler()
{
    calls[1]++;
    std::set_new_handler(third_handler);
}

void
first_handler()
{
    calls[0]++;
    if (calls[0] == 3)
        std::set_new_handler(second_handler);
}

enum class outcome { block, null, bad_alloc, other };

outcome
attempt(const new_form &form, std::size_t size)
{
    try {
        void *block = form.get(size, 64);
        mem.free(block);
        return block != nullptr ? outcome::block : outcome::null;
    } catch (const std::bad_alloc &) {
        return outcome::bad_alloc;
    } catch (...) {
        return outcome::other;
    }
}

} // namespace

Test(operators, every_form_is_the_librarys_own)
{
    const char *const symbols[] = {
        "_Znwm",
        "_Znam",
        "_ZnwmRKSt9nothrow_t",
        "_ZnamRKSt9nothrow_t",
        "_ZnwmSt11align_val_t",
        "_ZnamSt11align_val_t",
        "_ZnwmSt11align_val_tRKSt9nothrow_t",
        "_ZnamSt11align_val_tRKSt9nothrow_t",
        "_ZdlPv",
        "_ZdaPv",
        "_ZdlPvRKSt9nothrow_t",
        "_ZdaPvRKSt9nothrow_t",
        "_ZdlPvm",
        "_ZdaPvm",
        "_ZdlPvSt11align_val_t",
        "_ZdaPvSt11align_val_t",
        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
        "_ZdaPvSt11align_val_tRKSt9nothrow_t",
        "_ZdlPvmSt11align_val_t",
        "_ZdaPvmSt11align_val_t",
    };
    Dl_info library;
    REQUIRE(dladdr(dlsym(RTLD_DEFAULT, "pm_malloc"), &library) != 0, "pm_malloc is not exported");
    for (const char *symbol : symbols) {
        void *address = dlsym(RTLD_DEFAULT, symbol);
        Dl_info info;
        REQUIRE(address != nullptr && dladdr(address, &info) != 0, "%s is not exported", symbol);
        REQUIRE(info.dli_fbase == library.dli_fbase, "%s is served by %s", symbol, info.dli_fname);
    }
}

Test(operators, any_form_of_delete_takes_any_form_of_new)
{
    for (const delete_form &put : delete_forms) {
        for (std::size_t size : {0, 1, 8, 9, 24, 64, 100, 511, 512, 513, 1000, 1024, 1025, 5000, 200000}) {
            for (const new_form &get : new_forms) {
                if (!get.aligned) {
                    one_pair(get.name, get.get, put, size, size > 8 && !test_compact() ? 16 : 8);
                    continue;
                }
                for (std::size_t alignment = 1; alignment <= 8192; alignment *= 2)
                    one_pair(get.name, get.get, put, size, alignment);
            }
            one_pair("malloc", get_malloc, put, size, 8);
        }
    }
    for (const delete_form &put : delete_forms)
        put.put(nullptr, 24, 16);
}

/* [expr.new] promises no less than the default alignment for what new returns, whatever the size. */
Test(operators, new_is_aligned_to_the_default_new_alignment)
{
    std::vector<void *> blocks;
    for (std::size_t size = test_compact() ? 513 : 9; size < 2000; size++) {
        blocks.push_back(::operator new(size));
        REQUIRE(reinterpret_cast<std::uintptr_t>(blocks.back()) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0, "new(%zu)",
                size);
    }
    for (void *block : blocks)
        ::operator delete(block);
}

Test(operators, without_a_handler_failure_is_bad_alloc_or_null)
{
    for (const new_form &form : new_forms) {
        for (std::size_t size : {impossible, SIZE_MAX, SIZE_MAX - 64, std::size_t(1) << 50}) {
            outcome expected = form.throws ? outcome::bad_alloc : outcome::null;
            REQUIRE(attempt(form, size) == expected, "%s of %zu bytes", form.name, size);
        }
    }
}

Test(operators, handlers_are_called_in_turn_then_bad_alloc)
{
    for (const new_form &form : new_forms) {
        std::memset(calls, 0, sizeof calls);
        std::set_new_handler(first_handler);
        outcome expected = form.throws ? outcome::bad_alloc : outcome::null;
        REQUIRE(attempt(form, impossible) == expected, "%s", form.name);
        REQUIRE(calls[0] == 3 && calls[1] == 1 && calls[2] == 1, "%s: the handlers were called %d, %d, %d times",
                form.name, calls[0], calls[1], calls[2]);
        REQUIRE(std::get_new_handler() == nullptr, "%s", form.name);
    }
}

Test(operators, what_a_handler_throws_comes_through)
{
    for (const new_form &form : new_forms) {
        std::set_new_handler(refuse_and_throw);
        outcome expected = form.throws ? outcome::other : outcome::null;
        REQUIRE(attempt(form, impossible) == expected, "%s", form.name);
        std::set_new_handler(nullptr);
    }
}

namespace
{

/* Memory that a handler can give back: blocks of one size in a list, taken until there is no more. */
struct link {
    link *next;
};
link *ballast;
int ballast_calls;

void
give_ballast_back()
{
    ballast_calls++;
    REQUIRE(ballast != nullptr, "the handler is called though it gave everything back");
    while (ballast != nullptr) {
        link *next = ballast->next;
        mem.free(ballast);
        ballast = next;
    }
}

/* Until there is none left for good: a malloc that fails may move things about so that the next one succeeds. */
std::size_t
take_ballast(std::size_t size)
{
    std::size_t taken = 0;
    for (int failures = 0; failures < 10;) {
        void *block = mem.malloc(size);
        if (block == nullptr) {
            failures++;
            continue;
        }
        std::memset(block, 1, size);
        ballast = new (block) link{ballast};
        taken += size;
        failures = 0;
    }
    return taken;
}

/* Leaves this process `bytes` more of writable memory. */
void
limit_memory_to(rlim_t bytes)
{
    rlimit limit = {bytes, bytes};
    REQUIRE(setrlimit(RLIMIT_DATA, &limit) == 0, "setrlimit");
}

} // namespace

/* A new that fails calls the handler, which frees memory, and succeeds: for blocks of the pools and of the system. */
Test(operators, a_handler_that_frees_memory_makes_new_succeed)
{
    limit_memory_to(96 << 20);
    for (std::size_t size : {64, 1000, 100000}) {
        for (const new_form &form : new_forms) {
            std::size_t taken = take_ballast(size);
            REQUIRE(taken > 16 << 20, "only %zu bytes of ballast", taken);
            ballast_calls = 0;
            std::set_new_handler(give_ballast_back);
            REQUIRE(attempt(form, size) == outcome::block, "%s of %zu bytes", form.name, size);
            REQUIRE(ballast_calls == 1, "%s of %zu bytes: %d calls of the handler", form.name, size, ballast_calls);
            std::set_new_handler(nullptr);
        }
    }
}
