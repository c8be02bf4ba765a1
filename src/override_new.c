/* SPDX-License-Identifier: MIT
 *
 * C++ operator new and delete, all forms, under the names the Itanium C++ ABI gives them. Forwarders only: when memory
 * runs out, the C++ runtime's own operator does what the standard asks for, calls the new-handler and throws; it finds
 * its memory in malloc, which is ours. So the library needs no C++ runtime, and works with any. Layer 5.
 *
 * In a program linked with --wrap the runtime's operators, which call malloc and free, stay in place.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

#include "alloc.h"
#include "fast.h"
#include "report.h"

/* ---- When memory runs out ---- */

/* A fully static program may have no dlsym, and does not have its runtime's operators, because these took their place;
 * what those are made of it nearly always has. */
extern void *dlsym(void *restrict handle, const char *restrict name) __attribute__((weak));
extern void (*_ZSt15get_new_handlerv(void))(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* The same operator of the C++ runtime in this process; NULL in a fully static program. */
static void *
runtime_operator(const char *name)
{
    void *found = dlsym != NULL ? dlsym(RTLD_NEXT, name) : NULL;
#if PM_SHARED
    /* A runtime that came with a module opened late is not in sight from here. */
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
    for (size_t i = 0; found == NULL && i < sizeof runtimes / sizeof runtimes[0]; i++) {
        void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
        if (runtime != NULL)
            found = dlsym(runtime, name);
    }
#endif
    return found;
}

/* What the runtime's throwing operators do. */
static void *
new_without_runtime(size_t size, size_t alignment)
{
    for (;;) {
        void (*handler)(void) = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
        if (handler == NULL && _ZSt17__throw_bad_allocv != NULL)
            _ZSt17__throw_bad_allocv();
        if (handler == NULL)
            pm_report_bug("operator new fails, and there is no C++ runtime to say so");
        handler();
        void *block = pm_memalign(alignment, size);
        if (block != NULL)
            return block;
    }
}

typedef void *plain_new(size_t size);
typedef void *nothrow_new(size_t size, const void *nothrow);
typedef void *aligned_new(size_t size, size_t alignment);
typedef void *aligned_nothrow_new(size_t size, size_t alignment, const void *nothrow);

static PM_SLOW void *
plain_failed(const char *name, size_t size)
{
    plain_new *same = runtime_operator(name);
    return same != NULL ? same(size) : new_without_runtime(size, PM_MALLOC_ALIGNMENT);
}

static PM_SLOW void *
nothrow_failed(const char *name, size_t size, const void *nothrow)
{
    nothrow_new *same = runtime_operator(name);
    return same != NULL ? same(size, nothrow) : NULL;
}

/* The runtime rounds the size up to the alignment, and older ones do not see it overflow: an impossible size fails as
 * an unaligned one. */
static PM_SLOW void *
aligned_failed(const char *name, size_t size, size_t alignment)
{
    if (size > PTRDIFF_MAX)
        return plain_failed("_Znwm", size);
    aligned_new *same = runtime_operator(name);
    return same != NULL ? same(size, alignment) : new_without_runtime(size, alignment);
}

static PM_SLOW void *
aligned_nothrow_failed(const char *name, size_t size, size_t alignment, const void *nothrow)
{
    if (size > PTRDIFF_MAX)
        return nothrow_failed("_ZnwmRKSt9nothrow_t", size, nothrow);
    aligned_nothrow_new *same = runtime_operator(name);
    return same != NULL ? same(size, alignment, nothrow) : NULL;
}

/* ---- The operators ---- */

#define PLAIN_NEW(name)                                                          \
    PM_EXPORT plain_new name;                                                    \
    void *name(size_t size)                                                      \
    {                                                                            \
        void *block = pm_fast_malloc(size);                                      \
        return PM_LIKELY(block != NULL) ? block : plain_failed(#name, size);     \
    }

#define NOTHROW_NEW(name)                                                                     \
    PM_EXPORT nothrow_new name;                                                               \
    void *name(size_t size, const void *nothrow)                                              \
    {                                                                                         \
        void *block = pm_fast_malloc(size);                                                   \
        return PM_LIKELY(block != NULL) ? block : nothrow_failed(#name, size, nothrow);       \
    }

#define ALIGNED_NEW(name)                                                                     \
    PM_EXPORT aligned_new name;                                                               \
    void *name(size_t size, size_t alignment)                                                 \
    {                                                                                         \
        void *block = pm_memalign(alignment, size);                                           \
        return PM_LIKELY(block != NULL) ? block : aligned_failed(#name, size, alignment);     \
    }

#define ALIGNED_NOTHROW_NEW(name)                                                                              \
    PM_EXPORT aligned_nothrow_new name;                                                                        \
    void *name(size_t size, size_t alignment, const void *nothrow)                                             \
    {                                                                                                          \
        void *block = pm_memalign(alignment, size);                                                            \
        return PM_LIKELY(block != NULL) ? block : aligned_nothrow_failed(#name, size, alignment, nothrow);     \
    }

/* operator delete takes the same first argument in all forms; what follows it are hints. */
#define DELETE(name)                       \
    PM_EXPORT void name(void *block);      \
    void name(void *block)                 \
    {                                      \
        pm_fast_free(block);               \
    }

PLAIN_NEW(_Znwm)
PLAIN_NEW(_Znam)
NOTHROW_NEW(_ZnwmRKSt9nothrow_t)
NOTHROW_NEW(_ZnamRKSt9nothrow_t)
ALIGNED_NEW(_ZnwmSt11align_val_t)
ALIGNED_NEW(_ZnamSt11align_val_t)
ALIGNED_NOTHROW_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t)
ALIGNED_NOTHROW_NEW(_ZnamSt11align_val_tRKSt9nothrow_t)

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvm)
DELETE(_ZdaPvm)
DELETE(_ZdlPvSt11align_val_t)
DELETE(_ZdaPvSt11align_val_t)
DELETE(_ZdlPvmSt11align_val_t)
DELETE(_ZdaPvmSt11align_val_t)
DELETE(_ZdlPvRKSt9nothrow_t)
DELETE(_ZdaPvRKSt9nothrow_t)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t)
