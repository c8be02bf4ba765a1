/* SPDX-License-Identifier: MIT
 *
 * heap.h: where the pools of a class come from and where they go. Runs of neighbouring pools, arenas that return to the
 * region, the wide maps of class 1, and a region with nothing left.
 */
#include "heap.h"

#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

enum { EIGHT = 64, EIGHT_TOO = 63, MOST = 40000 }; /* two classes with eight blocks to a pool */

static struct pm_heap *heap;
static void *blocks[MOST];

static void
make_heap(void)
{
    heap = busy_heap();
}

/* A region of 63 arenas. */
static void
make_heap_in_small_region(void)
{
    fresh_region((size_t)16 << 20);
    make_heap();
}

static size_t
arenas_taken(void)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    return counts.arenas;
}

/* Takes the blocks of one more pool; returns the pool's number in its arena. */
static unsigned
take_pool(unsigned class, void **where)
{
    unsigned before = heap->classes[class].pools;
    for (unsigned i = 0; i < pm_class_blocks(class); i++)
        where[i] = pm_heap_take_one(heap, class);
    REQUIRE(heap->classes[class].pools == before + 1, "class %u: %u pools", class, heap->classes[class].pools);
    return pm_pool_index(pm_pool_at(where[0]));
}

static void
give_one(void *block)
{
    pm_heap_return(&block, 1, PM_FOUND_LATER);
}

/* Takes pools until the class has reserved more of them than it uses; returns how many it has taken. */
static unsigned
take_pools_until_some_are_reserved(unsigned class, void **where)
{
    unsigned count = 0;
    do {
        take_pool(class, where + count * pm_class_blocks(class));
        count++;
    } while (heap->classes[class].run_count == 0);
    REQUIRE(arenas_taken() == 1, "class %u reserves nothing before it fills an arena", class);
    return count;
}

/* ---- Runs ---- */

/* Two classes in turns: the pools of one are neighbours for as long as a run lasts. A run has at most 16 pools, and at
 * most as many as the class has already; what is reserved costs no memory. */
Test(heap_arenas, runs_are_neighbours_and_grow, .init = make_heap)
{
    static const unsigned classes[] = {EIGHT, EIGHT_TOO};
    unsigned longest = 0, last[2] = {0, 0};
    for (unsigned pools = 0; pools < 400; pools++)
        for (unsigned i = 0; i < 2; i++) {
            struct pm_class_pools *class = &heap->classes[classes[i]];
            unsigned left = class->run_count, index = take_pool(classes[i], blocks);
            unsigned length = left == 0 ? class->run_count + 1u : left;
            REQUIRE(left == 0 || (index == last[i] + 1 && class->run_count == left - 1), "class %u: pool %u behind %u",
                    classes[i], index, last[i]);
            REQUIRE(length <= 16 && length <= (pools == 0 ? 1 : pools), "class %u: a run of %u with %u pools",
                    classes[i], length, pools);
            for (unsigned ahead = 0; ahead < class->run_count; ahead++)
                REQUIRE(!page_is_resident(pm_arena_pool(class->run_arena, class->run_next + ahead)),
                        "a reserved pool has memory");
            memset(blocks[0], 1, 1);
            last[i] = index;
            longest = length > longest ? length : longest;
        }
    REQUIRE(longest == 16, "with 400 pools the longest run has %u", longest);
    require_lists(heap);
}

/* However long the runs are, an arena is used to its last pool, and then no longer on the list. */
Test(heap_arenas, runs_use_an_arena_up, .init = make_heap)
{
    for (unsigned arenas = 1; arenas <= 10; arenas++)
        for (unsigned pool = 0; pool < 63; pool++) {
            take_pool(EIGHT, blocks);
            REQUIRE(arenas_taken() == arenas, "%zu arenas for %u full ones and %u pools", arenas_taken(), arenas - 1,
                    pool + 1);
            unsigned others = 63 - 1 - pool - heap->classes[EIGHT].run_count;
            REQUIRE(has_arenas(heap) == (others != 0), "%u free pools", others);
        }
    require_lists(heap);
}

/* A program that moves over a pool's edge again and again gets the same page each time. */
Test(heap_arenas, the_last_pool_returns_to_its_run, .init = make_heap)
{
    take_pool(EIGHT, blocks);
    for (unsigned pools = 1; pools < 60; pools++) {
        void *edge = pm_heap_take_one(heap, EIGHT);
        unsigned left = heap->classes[EIGHT].run_count;
        for (int i = 0; i < 3; i++) {
            give_one(edge);
            REQUIRE(heap->classes[EIGHT].pools == pools && heap->classes[EIGHT].run_count == left + 1,
                    "%u pools, a run of %u", heap->classes[EIGHT].pools, heap->classes[EIGHT].run_count);
            REQUIRE(pm_heap_take_one(heap, EIGHT) == edge, "another pool");
        }
        require_lists(heap);
        for (unsigned i = 1; i < 8; i++)
            pm_heap_take_one(heap, EIGHT);
    }
}

/* Pools with free blocks serve first in, first out: one that has just got a block back waits. */
Test(heap_arenas, the_pool_that_waited_longest_serves_first, .init = make_heap)
{
    static const unsigned order[] = {3, 0, 4, 1};
    for (unsigned i = 0; i < 6; i++)
        take_pool(EIGHT, blocks + 8 * i);
    for (unsigned i = 0; i < 4; i++)
        give_one(blocks[8 * order[i] + 5]);
    give_one(blocks[8 * order[0] + 2]);
    void *expected[] = {blocks[8 * 3 + 2], blocks[8 * 3 + 5], blocks[0 + 5], blocks[8 * 4 + 5], blocks[8 * 1 + 5]};
    for (unsigned i = 0; i < 5; i++)
        REQUIRE(pm_heap_take_one(heap, EIGHT) == expected[i], "block %u is another one", i);
}

/* ---- Arenas ---- */

static void
require_nothing_left(void)
{
    REQUIRE(arenas_taken() == 0 && !has_arenas(heap), "%zu arenas", arenas_taken());
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_pools *pools = &heap->classes[class];
        REQUIRE(pools->pools == 0 && pools->run_count == 0 && pools->free_blocks == 0 && pools->first == NULL,
                "class %u: %u pools, a run of %u", class, pools->pools, pools->run_count);
    }
    require_lists(heap);
}

/* Ten pools of every class, and the blocks returned in an order that leaves each pool with a block for long. */
Test(heap_arenas, empty_arenas_return_to_the_region, .init = make_heap)
{
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
            for (unsigned i = 0; i < 10 * pm_class_blocks(class); i++)
                blocks[count++] = pm_heap_take_one(heap, class);
        REQUIRE(count <= MOST && arenas_taken() >= 640 / 63, "%zu blocks, %zu arenas", count, arenas_taken());
        for (size_t step = 97, i = 0; i < step; i++)
            for (size_t at = i; at < count; at += step)
                give_one(blocks[at]);
        require_nothing_left();
        for (size_t i = 0; i < count; i += 100)
            REQUIRE(*pm_region_page(blocks[i]) == 0, "the page map still knows a class");
    }
}

/* What a class has reserved in an arena does not keep it. */
Test(heap_arenas, runs_go_with_their_arena, .init = make_heap)
{
    unsigned pools = take_pools_until_some_are_reserved(EIGHT, blocks);
    void *other = pm_heap_take_one(heap, 2);
    for (unsigned i = 0; i < 8 * pools; i++)
        give_one(blocks[i]);
    REQUIRE(heap->classes[EIGHT].run_count != 0, "the run was given up early");
    REQUIRE(arenas_taken() == 1, "%zu arenas", arenas_taken());
    give_one(other);
    require_nothing_left();
}

/* ---- Class 1 ---- */

Test(heap_arenas, wide_maps_come_and_go_with_class_1, .init = make_heap)
{
    void *anchor = pm_heap_take_one(heap, EIGHT);
    struct pm_arena *arena = pm_arena_at(anchor);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 1500; i++)
            blocks[i] = pm_heap_take_one(heap, PM_CLASS_WIDE);
        REQUIRE(arena->wide_maps != 0 && arena->wide_pools == 3 && arena->assigned == 5, "%u, %u, %u", arena->wide_maps,
                arena->wide_pools, arena->assigned);
        REQUIRE(!(arena->free_pools & pm_arena_bit(arena->wide_maps)), "the pool of the maps is free");
        for (unsigned i = 0; i < 1500; i++)
            give_one(blocks[i]);
        REQUIRE(arena->wide_maps == 0 && arena->wide_pools == 0 && arena->assigned == 1, "%u, %u, %u", arena->wide_maps,
                arena->wide_pools, arena->assigned);
        REQUIRE(__builtin_popcountll(arena->free_pools) == 62, "%llx", (unsigned long long)arena->free_pools);
        REQUIRE(heap->classes[PM_CLASS_WIDE].run_count == 0, "a run without maps");
        require_lists(heap);
    }
    give_one(anchor);
    require_nothing_left();
}

/* The first pool of class 1 takes another one for the maps: an arena with one free pool cannot serve it. */
Test(heap_arenas, class_1_needs_two_pools_of_an_arena, .init = make_heap)
{
    for (unsigned i = 0; i < 62; i++)
        take_pool(EIGHT, blocks + 8 * i);
    pm_heap_drop_runs(heap);
    struct pm_arena *arena = heap->arenas[PM_ARENAS_CLEAN].first;
    REQUIRE(arena != NULL && __builtin_popcountll(arena->free_pools) == 1, "%llx",
            (unsigned long long)arena->free_pools);
    char *wide = pm_heap_take_one(heap, PM_CLASS_WIDE);
    REQUIRE(wide != NULL && pm_arena_at(wide) != arena && arena->wide_maps == 0, "served from an arena without room");
    require_lists(heap);
}

/* ---- Nothing left ---- */

static void
take_all_arenas_of_the_region(void)
{
    while (pm_region_take_arena(false).address != 0) {
    }
}

Test(heap_arenas, unused_runs_are_taken_over, .init = make_heap_in_small_region)
{
    unsigned pools = take_pools_until_some_are_reserved(EIGHT, blocks);
    size_t count = 8 * pools;
    void *block;
    while ((block = pm_heap_take_one(heap, EIGHT_TOO)) != NULL)
        blocks[count++] = block;
    REQUIRE(count == 63 * 63 * 8, "%zu blocks of 63 arenas with 63 pools", count);
    REQUIRE(heap->classes[EIGHT].run_count == 0 && heap->classes[EIGHT].pools == pools, "the run is still there");
    REQUIRE(pm_heap_take_one(heap, EIGHT) == NULL && pm_heap_take_one(heap, 1) == NULL, "something was left");
    require_lists(heap);
    for (size_t i = 0; i < count; i++)
        memset(blocks[i], (int)i, 504);
    for (size_t i = 0; i < count; i++)
        give_one(blocks[i]);
    require_nothing_left();
    REQUIRE(pm_heap_take_one(heap, 1) != NULL, "the region does not serve again");
}

/* A run in an arena without wide maps is of no use to class 1. */
Test(heap_arenas, class_1_takes_over_no_run, .init = make_heap_in_small_region)
{
    take_pools_until_some_are_reserved(EIGHT, blocks);
    unsigned left = heap->classes[EIGHT].run_count;
    take_all_arenas_of_the_region();
    while (has_arenas(heap) || heap->classes[EIGHT_TOO].run_count != 0)
        take_pool(EIGHT_TOO, blocks);
    REQUIRE(pm_heap_take_one(heap, PM_CLASS_WIDE) == NULL && pm_magazine_refill(heap, PM_CLASS_WIDE) == NULL, "class 1");
    REQUIRE(heap->classes[EIGHT].run_count == left, "%u of %u reserved", heap->classes[EIGHT].run_count, left);
    char *block = pm_heap_take_one(heap, 5);
    REQUIRE(block != NULL && heap->classes[EIGHT].run_count == 0 && heap->classes[5].run_count == left - 1,
            "not taken over: %u", heap->classes[5].run_count);
    require_lists(heap);
    give_one(block);
    REQUIRE(heap->classes[5].run_count == left && pm_heap_take_one(heap, 5) == block, "a run of %u",
            heap->classes[5].run_count);
    require_lists(heap);
}
