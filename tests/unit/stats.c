/* SPDX-License-Identifier: MIT
 *
 * stats.h and pm_stats_get: every total recomputed from its parts, with blocks in all classes, in magazines, in several
 * heaps and with the system allocator; and pools and system allocator together. stats_text.c has what is printed.
 */
#include "stats.h"

#include "heap.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "support/random.h"
#include "system.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

enum { BLOCKS = 20000, HEAPS = 3 };

static void *blocks[BLOCKS];
static size_t sizes[BLOCKS];
static struct pm_stats stats;

/* Allocates and frees at random: about half of the blocks stay in use. */
static void *
churn(void *seed)
{
    struct random random = {(uint64_t)(uintptr_t)seed};
    for (int i = 0; i < 3 * BLOCKS; i++) {
        size_t at = random_below(&random, BLOCKS);
        if (blocks[at] != NULL) {
            pm_free(blocks[at]);
            blocks[at] = NULL;
        } else {
            sizes[at] = random_below(&random, random_below(&random, 8) == 0 ? 1500 : 520);
            blocks[at] = pm_malloc(sizes[at]);
        }
    }
    return NULL;
}

/* Blocks of three heaps: those of two threads that have ended, and the calling thread's. */
static void
fill(void)
{
    pthread_t thread;
    for (uintptr_t seed = 1; seed < HEAPS; seed++) {
        void *mine[50];
        for (size_t i = 0; i < 50; i++)
            mine[i] = pm_malloc(16 * i); /* so that the thread's heap is another one each time */
        REQUIRE(pthread_create(&thread, NULL, churn, (void *)seed) == 0, "no thread");
        pthread_join(thread, NULL);
        for (size_t i = 0; i < 50; i++)
            pm_free(mine[i]);
    }
    churn((void *)(uintptr_t)HEAPS);
    pm_stats_get(&stats);
}

/* ---- Rows ---- */

/* The rows against the blocks the test knows to be in use, and against the heaps. */
Test(stats, rows_are_the_heaps_sums, .init = fill)
{
    size_t in_use[PM_CLASS_LAST + 1] = {0};
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i] != NULL && pm_is_pooled(blocks[i]))
            in_use[pm_usable_size(blocks[i]) / 8]++;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_stats *row = &stats.classes[class - 1];
        struct pm_class_stats sum = {.block_size = class * 8, .blocks_in_use = in_use[class]};
        for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next) {
            const struct pm_class_pools *pools = &heap->classes[class];
            sum.pools += pools->pools;
            sum.blocks_free += pools->free_blocks;
            sum.blocks_magazine += pm_magazine_count(&heap->magazines[class]);
            sum.refilled += pools->counts.refilled;
            sum.flushed += pools->counts.flushed;
            sum.flushed_remote += pools->counts.flushed_remote;
            sum.refills += pools->counts.refills;
            sum.flushes += pools->counts.flushes;
        }
        REQUIRE(memcmp(&sum, row, sizeof sum) == 0, "class %u: %zu in use instead of %zu, %zu pools instead of %zu",
                class, row->blocks_in_use, sum.blocks_in_use, row->pools, sum.pools);
        REQUIRE(row->refilled - row->flushed == row->blocks_in_use + row->blocks_magazine, "class %u", class);
        REQUIRE(row->pools * pm_class_blocks(class) == row->blocks_in_use + row->blocks_magazine + row->blocks_free,
                "class %u", class);
    }
}

Test(stats, totals_are_the_rows_sums, .init = fill)
{
    size_t pools = 0, in_use = 0, magazine = 0, free_bytes = 0;
    for (unsigned i = 0; i < PM_CLASS_COUNT; i++) {
        pools += stats.classes[i].pools;
        in_use += stats.classes[i].blocks_in_use * (8 * i + 8);
        magazine += stats.classes[i].blocks_magazine * (8 * i + 8);
        free_bytes += stats.classes[i].blocks_free * (8 * i + 8);
    }
    REQUIRE(stats.pools == pools && pools > 100, "%zu pools, %zu in the rows", stats.pools, pools);
    REQUIRE(stats.bytes_in_use == in_use, "%zu, %zu in the rows", stats.bytes_in_use, in_use);
    REQUIRE(stats.bytes_magazine == magazine, "%zu, %zu in the rows", stats.bytes_magazine, magazine);
    REQUIRE(stats.bytes_free == free_bytes, "%zu, %zu in the rows", stats.bytes_free, free_bytes);
}

/* All pools of the arenas in use: assigned, with wide maps, reserved, or free. */
Test(stats, pools_of_the_arenas_add_up, .init = fill)
{
    struct pm_region_counts counts;
    size_t reserved = 0, maps = 0, free_pools = 0, dirty = 0;
    pm_region_counts(&counts);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
            reserved += heap->classes[class].run_count;
    for (uintptr_t at = pm_region_next_arena(0); at != 0; at = pm_region_next_arena(at + PM_ARENA_SIZE)) {
        const struct pm_arena *arena = (const struct pm_arena *)at;
        maps += arena->wide_maps != 0;
        free_pools += (size_t)__builtin_popcountll(arena->free_pools);
        dirty += (size_t)__builtin_popcountll(arena->free_pools & arena->dirty_pools);
    }
    REQUIRE(stats.pools_free == free_pools && stats.pools_free_dirty == dirty, "%zu and %zu instead of %zu and %zu",
            stats.pools_free, stats.pools_free_dirty, free_pools, dirty);
    REQUIRE(stats.pools + maps + reserved + free_pools == 63 * stats.arenas,
            "%zu pools, %zu with maps, %zu reserved and %zu free in %zu arenas", stats.pools, maps, reserved,
            free_pools, stats.arenas);
    REQUIRE(stats.arenas == counts.arenas && stats.arenas_peak == counts.arenas_peak, "%zu arenas", stats.arenas);
    REQUIRE(stats.arenas_free == counts.arenas_free && stats.arenas_free_dirty == counts.arenas_dirty, "free arenas");
    REQUIRE(stats.region_bytes == counts.reserved_bytes && stats.committed_bytes == counts.committed_bytes, "region");
}

Test(stats, heaps_are_counted, .init = fill)
{
    size_t heaps = 0, bytes = stats.arenas * (4096 + 64);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next, heaps++)
        bytes += sizeof *heap + heap->slots_used * sizeof(void *);
    REQUIRE(stats.heaps == heaps && heaps >= 2, "%zu heaps", stats.heaps);
    REQUIRE(stats.heaps_parked == heaps - 1, "%zu parked", stats.heaps_parked);
    REQUIRE(stats.metadata_bytes == bytes, "%zu bytes instead of %zu", stats.metadata_bytes, bytes);
}

/* ---- The system allocator ---- */

Test(stats, requests_to_the_system_allocator)
{
    pm_free(pm_malloc(700)); /* from a magazine the next time: counted once */
    pm_free(pm_malloc(700));
    void *large = pm_calloc(10, 10000);
    pm_stats_get(&stats);
    REQUIRE(stats.system_allocations == 2 && stats.system_bytes == 704 + 100000, "%zu requests, %zu bytes",
            (size_t)stats.system_allocations, (size_t)stats.system_bytes);
    REQUIRE(stats.system_magazine_blocks == 1, "%zu in magazines", stats.system_magazine_blocks);
    REQUIRE(stats.system_magazine_bytes == 704, "%zu bytes in magazines", stats.system_magazine_bytes);
    pm_free(large);
}

static void
made_up_info(struct pm_system_info *info)
{
    *info = (struct pm_system_info){
        .obtained_bytes = 50000000,
        .mapped_bytes = 20000000,
        .mapped_blocks = 5,
        .used_bytes = 40000000,
        .free_bytes = 10000000,
        .trimmable_bytes = 3000000,
    };
}

Test(stats, pools_and_system_allocator_together, .init = fill)
{
    struct pm_totals totals;
    pm_system.info = made_up_info;
    pm_stats_totals(&totals);
    size_t dirty = stats.pools_free_dirty * 4096;
    REQUIRE(totals.obtained_bytes == 50000000 + stats.pools * 4096 + dirty, "%zu obtained", totals.obtained_bytes);
    REQUIRE(totals.pool_used_bytes == stats.bytes_in_use, "%zu", totals.pool_used_bytes);
    REQUIRE(totals.pool_free_bytes == stats.bytes_magazine + stats.bytes_free + dirty, "%zu", totals.pool_free_bytes);
    /* To the program, a block that waits in a magazine is free, though the system allocator counts it as used. */
    REQUIRE(stats.system_magazine_bytes > 0, "no system blocks in magazines");
    REQUIRE(totals.used_bytes == 40000000 - stats.system_magazine_bytes + stats.bytes_in_use, "%zu", totals.used_bytes);
    REQUIRE(totals.free_bytes == 10000000 + stats.system_magazine_bytes + totals.pool_free_bytes, "%zu",
            totals.free_bytes);
    REQUIRE(totals.mapped_blocks == 5 && totals.mapped_bytes == 20000000, "%zu", totals.mapped_bytes);
    REQUIRE(totals.trimmable_bytes == 3000000 + dirty, "%zu", totals.trimmable_bytes);

    pm_system.info = NULL;
    pm_stats_totals(&totals);
    REQUIRE(totals.mapped_blocks == 0 && totals.obtained_bytes == stats.pools * 4096 + dirty,
            "without a system's info");
}

#ifdef __GLIBC__
Test(stats, mallinfo, .init = fill)
{
    struct pm_totals totals;
    pm_system.info = made_up_info;
    pm_stats_totals(&totals);
    struct mallinfo2 wide = pm_stats_mallinfo2();
    struct mallinfo narrow = pm_stats_mallinfo();
    /* arena and hblkhd are what was obtained; uordblks, hblkhd what is used (mallinfo(3)). */
    REQUIRE(wide.arena + wide.hblkhd == totals.obtained_bytes && wide.hblkhd == 20000000, "%zu", wide.arena);
    REQUIRE(wide.uordblks + wide.hblkhd == totals.used_bytes, "%zu", wide.uordblks);
    REQUIRE(wide.fordblks == totals.free_bytes && wide.hblks == 5, "%zu", wide.fordblks);
    REQUIRE(wide.keepcost == totals.trimmable_bytes, "%zu", wide.keepcost);
    REQUIRE((size_t)narrow.arena == wide.arena && (size_t)narrow.uordblks == wide.uordblks, "%d", narrow.arena);
    REQUIRE((size_t)narrow.fordblks == wide.fordblks && (size_t)narrow.hblkhd == wide.hblkhd, "%d", narrow.fordblks);
    REQUIRE((size_t)narrow.hblks == wide.hblks && (size_t)narrow.keepcost == wide.keepcost, "%d", narrow.hblks);
}
#endif
