/* SPDX-License-Identifier: MIT
 *
 * heap.h: purging a heap. Its runs are given up and the memory of its free pools goes back to the kernel, whatever the
 * limits say, that of pools with blocks in use does not.
 */
#include "heap.h"

#include "options.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

enum { EIGHT = 64, MOST = 63 * 3 * 8 }; /* a class with eight blocks to a pool, and the blocks of three arenas */

static struct pm_heap *heap;
static void *blocks[MOST];

static void
make_heap(void)
{
    pm_options.purge = PM_PURGE_NEVER;
    heap = busy_heap();
}

static void
take(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = pm_heap_take_one(heap, EIGHT);
        memset(blocks[i], 7, 512);
    }
}

static void
give_one(void *block)
{
    pm_heap_return(&block, 1, PM_FOUND_LATER);
}

Test(heap_purge, gives_up_runs_and_memory, .init = make_heap)
{
    take(20 * 8);
    for (unsigned i = 0; i < 20 * 8; i++)
        if (i / 8 % 3 != 0)
            give_one(blocks[i]);
    struct pm_arena *arena = pm_arena_at(blocks[0]);
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].first == arena, "not on the list of dirty arenas");
    pm_heap_drop_runs(heap);
    require_lists(heap);
    REQUIRE(heap->classes[EIGHT].run_count == 0, "a run of %u", heap->classes[EIGHT].run_count);
    REQUIRE(__builtin_popcountll(arena->free_pools) == 63 - 7, "%llx", (unsigned long long)arena->free_pools);
    REQUIRE(heap->keep.dirty == 13, "%zu dirty pools", heap->keep.dirty);
    REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 21, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
    REQUIRE(pm_heap_purge(heap), "no memory was given back");
    REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 8, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
    REQUIRE(heap->keep.dirty == 0 && heap->arenas[PM_ARENAS_CLEAN].first == arena, "not on the list of clean arenas");
    for (unsigned i = 0; i < 20 * 8; i++)
        REQUIRE(i / 8 % 3 != 0 || *(char *)blocks[i] == 7, "block %u lost its contents", i);
    REQUIRE(!pm_heap_purge(heap), "purged twice");
    take(8);
    give_one(blocks[0]);
    require_lists(heap);
}

/* In every arena with free pools, and also what is reserved. */
Test(heap_purge, of_several_arenas, .init = make_heap)
{
    take(63 * 3 * 8);
    for (size_t i = 0; i < 63 * 3 * 8; i++)
        if (i % (63 * 8) != 0)
            give_one(blocks[i]);
    REQUIRE(pm_heap_purge(heap), "nothing was purged");
    for (size_t i = 0; i < 3; i++) {
        const struct pm_arena *arena = pm_arena_at(blocks[i * 63 * 8]);
        REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 2, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
        REQUIRE(__builtin_popcountll(arena->free_pools) == 62, "%llx", (unsigned long long)arena->free_pools);
    }
    REQUIRE(heap->classes[EIGHT].run_count == 0 && !pm_heap_purge(heap), "there was more");
    require_lists(heap);
    /* One pool in one arena is worth it, when it is asked for. */
    void *one_more[8];
    for (unsigned i = 0; i < 8; i++)
        one_more[i] = pm_heap_take_one(heap, EIGHT - 1);
    memset(one_more[0], 7, 500);
    for (unsigned i = 0; i < 8; i++)
        give_one(one_more[i]);
    REQUIRE(page_is_resident(one_more[0]) && pm_heap_purge(heap) && !page_is_resident(one_more[0]), "one pool stays");
    require_lists(heap);
}

/* What was asked for says nothing of what the program needs. */
Test(heap_purge, teaches_nothing, .init = make_heap)
{
    pm_options.purge = PM_PURGE_BALANCED;
    take(20 * 8);
    for (unsigned i = 8; i < 20 * 8; i++)
        give_one(blocks[i]);
    REQUIRE(pm_heap_purge(heap), "nothing was purged");
    take(20 * 8);
    REQUIRE(heap->keep.learned == 0 && heap->keep.given == 0, "learned %zu", heap->keep.learned);
}
