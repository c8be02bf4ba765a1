/* SPDX-License-Identifier: MIT
 *
 * The system allocator of a fully static program that is linked with --wrap: libc's own malloc, which the linker calls
 * __real_malloc.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stddef.h>

#include "system.h"

void *__real_malloc(size_t size);
void __real_free(void *block);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
size_t __real_malloc_usable_size(void *block);

#ifdef __GLIBC__
/* Weak: the archive may end in a program of another libc, which has no such functions. */
int __real_malloc_trim(size_t pad) __attribute__((weak));
int __real_mallopt(int parameter, int value) __attribute__((weak));
struct mallinfo2 __real_mallinfo2(void) __attribute__((weak));

static void
wrapped_info(struct pm_system_info *info)
{
    pm_system_info_of_glibc(info, __real_mallinfo2());
}
#endif

void
pm_system_resolve(void)
{
    pm_system = (struct pm_system){
        .malloc = __real_malloc,
        .free = __real_free,
        .calloc = __real_calloc,
        .realloc = __real_realloc,
        .aligned_alloc = __real_aligned_alloc,
        .usable_size = __real_malloc_usable_size,
#ifdef __GLIBC__
        .trim = __real_malloc_trim,
        .option = __real_mallopt,
        .info = __real_mallinfo2 != NULL ? wrapped_info : NULL,
#endif
    };
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
