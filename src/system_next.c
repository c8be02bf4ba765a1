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
#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *address, struct dl_find_object *object) __attribute__((weak));
#endif

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

/* What identifies the object that an address is in; NULL when that is not known. glibc has a call that does not read
 * the object's symbols for it, which would take longer than all the rest of the start. */
static const void *
object_of(void *address)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object object;
    if (_dl_find_object != NULL)
        return _dl_find_object(address, &object) == 0 ? object.dlfo_map_start : NULL;
#endif
    Dl_info info;
    return dladdr(address, &info) != 0 ? info.dli_fbase : NULL;
}

/* The same, of the object that `other` is in: calls that look into blocks must not reach an allocator that serves
 * nobody. */
static void *
next_beside(const void *object, const char *name)
{
    void *found = next(name);
    return found != NULL && object != NULL && object_of(found) == object ? found : NULL;
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
    const void *object = found.malloc != NULL ? object_of(found.malloc) : NULL;
    found.usable_size = next_beside(object, "malloc_usable_size");
    found.trim = next_beside(object, "malloc_trim");
    found.option = next_beside(object, "mallopt");
    if (found.malloc == NULL || found.free == NULL || found.calloc == NULL || found.realloc == NULL ||
        found.aligned_alloc == NULL)
        return;
    if (found.usable_size == NULL)
        found.usable_size = unknown_size;
#ifdef __GLIBC__
    next_mallinfo2 = next_beside(object, "mallinfo2");
    if (next_mallinfo2 != NULL)
        found.info = next_info;
#endif
    pm_system = found;
}

bool
pm_system_may_go(void)
{
    return false; /* it serves malloc */
}

void
pm_system_stay(void)
{
}
