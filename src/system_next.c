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
        .usable_size = next("malloc_usable_size"),
        .trim = next("malloc_trim"),
        .option = next("mallopt"),
    };
    if (found.malloc == NULL || found.free == NULL || found.calloc == NULL || found.realloc == NULL ||
        found.aligned_alloc == NULL || found.usable_size == NULL)
        return;
#ifdef __GLIBC__
    next_mallinfo2 = next("mallinfo2");
    if (next_mallinfo2 != NULL)
        found.info = next_info;
#endif
    pm_system = found;
}
