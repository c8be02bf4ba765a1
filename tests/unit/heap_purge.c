/* SPDX-License-Identifier: MIT
 *
 * heap.h: purging a heap. Its runs are given up and the memory of its free pools goes back to the kernel, that of pools
 * with blocks in use does not.
 */
#include "heap.h"

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
    heap = pm_heap_create();
    REQUIRE(heap != NULL, "no heap");
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
    struct pm_arena *arena = heap->arenas;
    pm_heap_drop_runs(heap);
    REQUIRE(heap->classes[EIGHT].run_count == 0, "a run of %u", heap->classes[EIGHT].run_count);
    REQUIRE(__builtin_popcountll(arena->free_pools) == 63 - 7, "%llx", (unsigned long long)arena->free_pools);
    REQUIRE(!pm_heap_purge(heap, true), "purged what is not aged");
    REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 21, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
    REQUIRE(pm_heap_purge(heap, true), "no memory was given back");
    REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 8, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
    for (unsigned i = 0; i < 20 * 8; i++)
        REQUIRE(i / 8 % 3 != 0 || *(char *)blocks[i] == 7, "block %u lost its contents", i);
    REQUIRE(!pm_heap_purge(heap, false), "purged twice");
    take(8);
    give_one(blocks[0]);
    pm_heap_verify(heap);
}

/* In every arena with free pools, and also what is reserved. */
Test(heap_purge, of_several_arenas, .init = make_heap)
{
    take(63 * 3 * 8);
    for (size_t i = 0; i < 63 * 3 * 8; i++)
        if (i % (63 * 8) != 0)
            give_one(blocks[i]);
    REQUIRE(pm_heap_purge(heap, false), "nothing was purged");
    for (size_t i = 0; i < 3; i++) {
        const struct pm_arena *arena = pm_arena_at(blocks[i * 63 * 8]);
        REQUIRE(resident_pages(arena, PM_ARENA_SIZE) == 2, "%zu pages", resident_pages(arena, PM_ARENA_SIZE));
        REQUIRE(__builtin_popcountll(arena->free_pools) == 62, "%llx", (unsigned long long)arena->free_pools);
    }
    REQUIRE(heap->classes[EIGHT].run_count == 0 && !pm_heap_purge(heap, false), "there was more");
    for (size_t i = 0; i < 3; i++) {
        pm_arena_at(blocks[i * 63 * 8])->dirty_pools |= pm_arena_bit(40);
        REQUIRE(pm_heap_purge(heap, false), "one pool in arena %zu is not worth mentioning", i);
    }
    pm_heap_verify(heap);
}
