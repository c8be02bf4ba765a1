/* SPDX-License-Identifier: MIT
 *
 * Writes what the library made of its environment: the usable size of malloc(24), and whether there is a region.
 */
#include <malloc.h>
#include <poolmalloc.h>
#include <stdio.h>
#include <stdlib.h>

int
main(void)
{
    void *volatile block = malloc(24);
    struct pm_stats stats;
    pm_stats_get(&stats);
    printf("%zu %s\n", malloc_usable_size(block),
           stats.region_bytes == 0 ? "no region" : stats.region_bytes <= (16 << 20) ? "16M" : "more");
    free(block);
    return 0;
}
