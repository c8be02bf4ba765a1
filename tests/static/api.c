/* SPDX-License-Identifier: MIT
 *
 * A program that uses the pools beside its own malloc, to see that the pm_* library links and serves with each libc:
 * small blocks from the pools, large ones from the libc's malloc, whatever that can be asked besides.
 */
#include <stdio.h>
#include <stdlib.h>

#include "poolmalloc.h"

int
main(void)
{
    void *small = pm_malloc(100), *large = pm_malloc(100000), *own = malloc(100);
    if (!pm_is_pooled(small) || pm_is_pooled(large) || pm_is_pooled(own) || pm_usable_size(large) < 100000) {
        fprintf(stderr, "api.c: pooled %d, %d, %d; %zu bytes\n", pm_is_pooled(small), pm_is_pooled(large),
                pm_is_pooled(own), pm_usable_size(large));
        return 1;
    }
    pm_free(small);
    pm_free(large);
    free(own);
    pm_trim(0);
    struct pm_stats stats;
    pm_stats_get(&stats);
    printf("ok: %zu heaps, %zu pools\n", stats.heaps, stats.pools);
    return 0;
}
