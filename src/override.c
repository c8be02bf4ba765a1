/* SPDX-License-Identifier: MIT
 *
 * The standard names. Forwarders only: what they do is alloc.c's and stats.c's. Every name through which a program can
 * reach an allocator is here or in override_new.c, so that no block ever reaches the free of another allocator.
 * Layer 5.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>

#include "alloc.h"
#include "fast.h"
#include "note.h"
#include "override.h"
#include "poolmalloc.h"
#include "stats.h"
#include "system.h"

const char pm_override_anchor;

/* Never called: for readers who ask whether poolmalloc serves malloc where no symbol says so. */
static void __attribute__((used))
note(void)
{
    PM_NOTE_ALONE(PM_NOTE_MALLOC);
}

/* Names that the system's headers may not declare. */
void PM_NAME(free_sized)(void *block, size_t size);
void PM_NAME(free_aligned_sized)(void *block, size_t alignment, size_t size);
void PM_NAME(cfree)(void *block);
void *PM_NAME(pvalloc)(size_t size);
void PM_NAME(malloc_stats)(void);
int PM_NAME(malloc_trim)(size_t pad);

/* The C standard, POSIX */

PM_EXPORT void *
PM_NAME(malloc)(size_t size)
{
    return pm_fast_malloc(size);
}

PM_EXPORT void
PM_NAME(free)(void *block)
{
    pm_fast_free(block);
}

PM_EXPORT void *
PM_NAME(calloc)(size_t count, size_t size)
{
    return pm_calloc(count, size);
}

PM_EXPORT void *
PM_NAME(realloc)(void *block, size_t size)
{
    return pm_realloc(block, size);
}

PM_EXPORT void *
PM_NAME(reallocarray)(void *block, size_t count, size_t size)
{
    return pm_reallocarray(block, count, size);
}

PM_EXPORT void *
PM_NAME(aligned_alloc)(size_t alignment, size_t size)
{
    return pm_aligned_alloc(alignment, size);
}

PM_EXPORT int
PM_NAME(posix_memalign)(void **block, size_t alignment, size_t size)
{
    return pm_posix_memalign(block, alignment, size);
}

PM_EXPORT void
PM_NAME(free_sized)(void *block, size_t size)
{
    pm_free_sized(block, size);
}

PM_EXPORT void
PM_NAME(free_aligned_sized)(void *block, size_t alignment, size_t size)
{
    pm_free_aligned_sized(block, alignment, size);
}

/* The older ones */

PM_EXPORT void *
PM_NAME(memalign)(size_t alignment, size_t size)
{
    return pm_memalign_rounded(alignment, size);
}

PM_EXPORT void *
PM_NAME(valloc)(size_t size)
{
    return pm_valloc(size);
}

PM_EXPORT void *
PM_NAME(pvalloc)(size_t size)
{
    return pm_pvalloc(size);
}

PM_EXPORT void
PM_NAME(cfree)(void *block)
{
    pm_fast_free(block);
}

PM_EXPORT size_t
PM_NAME(malloc_usable_size)(void *block)
{
    return pm_usable_size(block);
}

PM_EXPORT int
PM_NAME(malloc_trim)(size_t pad)
{
    return pm_trim(pad);
}

PM_EXPORT void
PM_NAME(malloc_stats)(void)
{
    pm_stats_print_totals(2);
}

/* Only glibc declares these */

#ifdef __GLIBC__

PM_EXPORT int
PM_NAME(mallopt)(int parameter, int value)
{
    return pm_system_option(parameter, value);
}

PM_EXPORT int
PM_NAME(malloc_info)(int options, FILE *stream)
{
    return pm_stats_print_xml(options, stream);
}

PM_EXPORT struct mallinfo2
PM_NAME(mallinfo2)(void)
{
    return pm_stats_mallinfo2();
}

PM_EXPORT struct mallinfo
PM_NAME(mallinfo)(void)
{
    return pm_stats_mallinfo();
}

#endif

/* glibc's own names for the same functions, which some programs call; only libc itself may define them in a static
 * one */

#if PM_SHARED && defined(__GLIBC__)

#if __has_attribute(copy)
#define PM_AS(target) __attribute__((alias(#target), visibility("default"), copy(target)))
#else
#define PM_AS(target) __attribute__((alias(#target), visibility("default")))
#endif
#define PM_ALIAS(name, target) extern __typeof(target) name PM_AS(target)

PM_ALIAS(__libc_malloc, malloc);
PM_ALIAS(__libc_free, free);
PM_ALIAS(__libc_calloc, calloc);
PM_ALIAS(__libc_realloc, realloc);
PM_ALIAS(__libc_memalign, memalign);
PM_ALIAS(__libc_valloc, valloc);
PM_ALIAS(__libc_pvalloc, pvalloc);

#endif
