/* SPDX-License-Identifier: MIT
 *
 * The system allocator as the program's own malloc: for the library with the pm_* interface only.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>

#include "system.h"

#ifdef __GLIBC__
static void
own_info(struct pm_system_info *info)
{
    pm_system_info_of_glibc(info, mallinfo2());
}
#endif

void
pm_system_resolve(void)
{
    pm_system = (struct pm_system){
        .malloc = malloc,
        .free = free,
        .calloc = calloc,
        .realloc = realloc,
        .aligned_alloc = aligned_alloc,
        .usable_size = malloc_usable_size,
#ifdef __GLIBC__
        .trim = malloc_trim,
        .option = mallopt,
        .info = own_info,
#endif
    };
}
