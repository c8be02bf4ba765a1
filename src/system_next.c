/* SPDX-License-Identifier: MIT
 *
 * The system allocator as the next definition of the same names, so that whatever stands behind poolmalloc in the link
 * order serves the large requests: libc, or another allocator that was preloaded after it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>

#include "system.h"

/* A fully static program has no dlsym worth calling; a weak reference does not pull it in. */
extern void *dlsym(void *restrict handle, const char *restrict name) __attribute__((weak));

/* struct mallinfo2 is a glibc type; musl has no such call. */
#ifdef __GLIBC__
static struct mallinfo2 (*next_mallinfo2)(void);

static void
next_info(struct pm_system_info *info)
{
    pm_system_info_of_glibc(info, next_mallinfo2());
}
#endif

/* Every program that links the static library gets override.c, also one that never names malloc itself. */
__attribute__((used)) static const char *const override = &pm_override_anchor;

static void *
next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* The same, of the object that `other` is in: calls that look into blocks must not reach an allocator that serves nobody. */
static void *
next_beside(void *other, const char *name)
{
    Dl_info theirs, ours;
    void *found = next(name);
    return found != NULL && dladdr(other, &theirs) != 0 && dladdr(found, &ours) != 0 &&
                   theirs.dli_fbase == ours.dli_fbase
               ? found
               : NULL;
}

static size_t
unknown_size(void *block)
{
    (void)block;
    return 0;
}

void
pm_system_resolve(void)
{
    if (dlsym == NULL)
        return;
    struct pm_system found = {
        .malloc = next("malloc"),
        .free = next("free"),
        .calloc = next("calloc"),
        .realloc = next("realloc"),
        /* Not memalign: musl's calls aligned_alloc by name, which is ours. */
        .aligned_alloc = next("aligned_alloc"),
    };
    found.usable_size = next_beside(found.malloc, "malloc_usable_size");
    found.trim = next_beside(found.malloc, "malloc_trim");
    found.option = next_beside(found.malloc, "mallopt");
    if (found.malloc == NULL || found.free == NULL || found.calloc == NULL || found.realloc == NULL ||
        found.aligned_alloc == NULL)
        return;
    if (found.usable_size == NULL)
        found.usable_size = unknown_size;
#ifdef __GLIBC__
    next_mallinfo2 = next_beside(found.malloc, "mallinfo2");
    if (next_mallinfo2 != NULL)
        found.info = next_info;
#endif
    pm_system = found;
}
