/* SPDX-License-Identifier: MIT
 *
 * heap.h: what a heap gives back without being asked. Up to the limit everything stays; above it the pools go that have
 * been free longest, in whoever's thread they became free; and a heap whose memory comes and goes in waves keeps it
 * from the second wave on. The clock is the test's.
 */
#include "heap.h"

#include "options.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

/* Classes with eight blocks to a pool; the pools of an arena; the heap's base limit. */
enum { EIGHT = 64, EIGHT_TOO = 63, PER_POOL = 8, POOLS = 63, BASE = 32, ARENAS = 12 };

static struct pm_heap *heap;
static void *blocks[ARENAS * POOLS * PER_POOL];

/* A heap with so many arenas, all of whose pools are in use and resident. */
static void
fill(size_t arenas)
{
    for (size_t i = 0; i < arenas * POOLS * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(heap, EIGHT);
        memset(blocks[i], 7, 512);
    }
    require_lists(heap);
}

static void
start(void)
{
    pm_options.purge = PM_PURGE_BALANCED;
    heap = busy_heap();
}

/* The pools are numbered in the order of their use: arena i has POOLS from i * POOLS on. */
static void
free_pool(size_t pool)
{
    void *batch[PER_POOL];
    memcpy(batch, blocks + pool * PER_POOL, sizeof batch);
    pm_heap_return(batch, PER_POOL, PM_FOUND_LATER);
}

static void
free_pools(size_t first, size_t end)
{
    for (size_t pool = first; pool < end; pool++)
        free_pool(pool);
}

static bool
resident(size_t pool)
{
    return page_is_resident(blocks[pool * PER_POOL]);
}

static size_t
resident_of(size_t first, size_t end)
{
    size_t count = 0;
    for (size_t pool = first; pool < end; pool++)
        count += resident(pool);
    return count;
}

static struct pm_arena *
arena_of(size_t index)
{
    return pm_arena_at(blocks[index * POOLS * PER_POOL]);
}

/* ---- Lists ---- */

/* Every way from one list to another: none, clean, dirty. */
Test(heap_balance, an_arena_is_on_the_list_of_its_state, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    fill(1);
    struct pm_arena *arena = arena_of(0);
    REQUIRE(arena->list == PM_ARENAS_NO_LIST && !has_arenas(heap), "full: list %u", arena->list);
    free_pool(5);
    REQUIRE(arena->list == PM_ARENAS_DIRTY && heap->keep.dirty == 1, "none to dirty: list %u", arena->list);
    pm_heap_purge(heap);
    REQUIRE(arena->list == PM_ARENAS_CLEAN && heap->keep.dirty == 0, "dirty to clean: list %u", arena->list);
    require_lists(heap);
    void *taken = pm_heap_take_one(heap, EIGHT_TOO);
    REQUIRE(pm_arena_at(taken) == arena && arena->list == PM_ARENAS_NO_LIST, "clean to none: list %u", arena->list);
    require_lists(heap);
    free_pools(6, 8);
    pm_heap_purge(heap);
    free_pool(9);
    REQUIRE(arena->list == PM_ARENAS_DIRTY && heap->keep.dirty == 1, "clean to dirty: list %u", arena->list);
    require_lists(heap);
    for (unsigned i = 0; i < 2 * PER_POOL - 1; i++) /* the rest of the pool, then the dirty one before the clean ones */
        pm_heap_take_one(heap, EIGHT_TOO);
    REQUIRE(arena->list == PM_ARENAS_CLEAN && heap->keep.dirty == 0, "dirty to clean by use: list %u", arena->list);
    require_lists(heap);
}

Test(heap_balance, dirty_arenas_serve_before_clean_ones, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    fill(3);
    free_pools(0, 40);
    pm_heap_purge(heap);
    free_pools(2 * POOLS, 2 * POOLS + 1);
    free_pools(POOLS, POOLS + 1);
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].first == arena_of(1), "not the one that became dirty last");
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].last == arena_of(2), "not the one that became dirty first");
    /* Also when most of it is free already. */
    free_pool(45);
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].first == arena_of(0), "not the one that became dirty last");
    REQUIRE(pm_arena_at(pm_heap_take_one(heap, EIGHT_TOO)) == arena_of(0), "another arena");
    REQUIRE(arena_of(0)->list == PM_ARENAS_CLEAN, "list %u", arena_of(0)->list);
    static const size_t order[] = {1, 2, 0};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned k = 0; k < PER_POOL; k++)
            REQUIRE(pm_arena_at(pm_heap_take_one(heap, EIGHT)) == arena_of(order[i]), "pool %u of another arena", i);
    require_lists(heap);
}

/* Of the clean ones, those with fewer free pools serve first, in whichever order they became clean. */
Test(heap_balance, fuller_clean_arenas_serve_first, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    for (int order = 0; order < 2; order++) {
        heap = busy_heap();
        fill(2);
        size_t full = order, empty = 1 - order;
        for (size_t i = 0; i < 2; i++) {
            free_pools(i * POOLS, i * POOLS + (i == full ? 5 : 50));
            pm_heap_purge(heap);
        }
        REQUIRE(heap->arenas[PM_ARENAS_CLEAN].first == arena_of(full), "order %d: the emptier one is first", order);
        REQUIRE(heap->arenas[PM_ARENAS_CLEAN].last == arena_of(empty), "order %d: the fuller one is last", order);
        require_lists(heap);
    }
}

/* ---- The limit ---- */

/* Pool by pool: what is free stays as long as it is not more than the limit; then it comes down to the target, and at
 * most an arena lower. What is free and resident is what the heap counts. */
Test(heap_balance, all_stays_up_to_the_limit, .init = start)
{
    fill(ARENAS);
    size_t purges = 0, freed = 0;
    for (size_t i = 0; i < ARENAS * POOLS; i++) {
        size_t pool = i * 31 % (ARENAS * POOLS), before = heap->keep.dirty, run = heap->classes[EIGHT].run_count;
        if (pool % POOLS == 40)
            continue; /* so that every arena stays with the heap */
        free_pool(pool);
        freed++;
        size_t limit = pm_keep_limit(&heap->keep, heap->pools);
        REQUIRE(heap->keep.dirty <= limit, "%zu are kept, the limit is %zu", heap->keep.dirty, limit);
        if (heap->keep.dirty >= before)
            continue;
        size_t target = pm_keep_target(limit);
        purges++;
        REQUIRE(before + 1 + run > limit, "%zu were not above the limit of %zu", before + 1, limit);
        REQUIRE(heap->keep.dirty <= target && heap->keep.dirty + POOLS > target, "%zu are kept, the target is %zu",
                heap->keep.dirty, target);
        size_t held = resident_of(0, ARENAS * POOLS) - heap->pools;
        REQUIRE(held == heap->keep.dirty, "%zu of the free pools are resident, not %zu", held, heap->keep.dirty);
        require_lists(heap);
    }
    REQUIRE(freed == ARENAS * (POOLS - 1) && purges > 10, "%zu freed in %zu purges", freed, purges);
    for (size_t i = 0; i < ARENAS; i++)
        for (unsigned k = 0; k < PER_POOL; k++)
            REQUIRE(*(char *)blocks[(i * POOLS + 40) * PER_POOL + k] == 7, "a block in use lost its contents");
}

/* What became dirty first goes first, and no more than has to. */
Test(heap_balance, the_oldest_go_first, .init = start)
{
    fill(4);
    free_pools(2 * POOLS, 2 * POOLS + 10);
    free_pools(0, 10);
    free_pools(3 * POOLS, 3 * POOLS + 10);
    REQUIRE(heap->keep.dirty == 30 && resident_of(0, 4 * POOLS) == 4 * POOLS, "%zu, before the limit",
            heap->keep.dirty);
    /* Limit 35, target 19: two arenas. */
    free_pools(POOLS, POOLS + 6);
    REQUIRE(pm_keep_limit(&heap->keep, heap->pools) == BASE + 3, "limit %zu",
            pm_keep_limit(&heap->keep, heap->pools));
    REQUIRE(resident_of(2 * POOLS, 2 * POOLS + 10) == 0 && resident_of(0, 10) == 0, "the oldest are still there");
    REQUIRE(resident_of(3 * POOLS, 4 * POOLS) == POOLS && resident_of(POOLS, 2 * POOLS) == POOLS, "the last have gone");
    REQUIRE(heap->keep.dirty == 16 && heap->keep.given == 20, "%zu dirty, %zu given", heap->keep.dirty,
            heap->keep.given);
    REQUIRE(arena_of(2)->list == PM_ARENAS_CLEAN && arena_of(0)->list == PM_ARENAS_CLEAN, "purged, and not clean");
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].last == arena_of(3) && heap->arenas[PM_ARENAS_DIRTY].first == arena_of(1),
            "another order");
    /* One that was purged and becomes dirty again is the youngest. */
    free_pool(10);
    REQUIRE(heap->arenas[PM_ARENAS_DIRTY].first == arena_of(0), "not the youngest");
    require_lists(heap);
}

/* One free pool more is kept for 64 in use. */
Test(heap_balance, large_heaps_keep_more, .init = start)
{
    fill(ARENAS);
    size_t limit = BASE + (ARENAS * POOLS - BASE) / 64;
    for (size_t i = 0; heap->keep.dirty < limit; i++)
        free_pool(i * 17 % (ARENAS * POOLS));
    REQUIRE(resident_of(0, ARENAS * POOLS) == ARENAS * POOLS && limit > BASE + 10, "up to %zu", limit);
    size_t i = limit;
    while (heap->keep.dirty >= limit)
        free_pool(i++ * 17 % (ARENAS * POOLS));
    REQUIRE(i <= limit + 2, "%zu above the limit", i - limit);
}

/* Runs, which nobody uses, go before anything else is kept. */
Test(heap_balance, runs_are_given_up, .init = start)
{
    fill(2);
    for (unsigned i = 0; i < PER_POOL; i++)
        blocks[2 * POOLS * PER_POOL + i] = pm_heap_take_one(heap, EIGHT);
    REQUIRE(heap->classes[EIGHT].run_count != 0, "no run");
    free_pools(0, 40);
    REQUIRE(heap->classes[EIGHT].run_count == 0, "a run of %u", heap->classes[EIGHT].run_count);
    require_lists(heap);
}

/* A heap with all pools of the class but its own, which are freed in the reverse order of their use. */
static void
free_in_reverse_order(void)
{
    void *anchor = pm_heap_take_one(heap, EIGHT_TOO);
    for (size_t i = 0; i < 60 * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(heap, EIGHT);
        memset(blocks[i], 7, 512);
    }
    REQUIRE(pm_arena_at(anchor) == pm_arena_at(blocks[60 * PER_POOL - 1]), "more than an arena");
    for (size_t pool = 60; pool-- > 0;)
        free_pool(pool);
    require_lists(heap);
}

/* Such pools return to the run, one after the other; but a run has at most 16 pools, the others are free and count. */
Test(heap_balance, frees_in_reverse_order, .init = start)
{
    free_in_reverse_order();
    REQUIRE(resident_of(0, 60) <= BASE + 16, "%zu free pools are resident, the limit is %d, and a run of %u",
            resident_of(0, 60), BASE, heap->classes[EIGHT].run_count);
}

Test(heap_balance, frees_in_reverse_order_and_eager, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    free_in_reverse_order();
    REQUIRE(resident_of(0, 60) <= 16, "%zu free pools are resident, in a run of %u", resident_of(0, 60),
            heap->classes[EIGHT].run_count);
}

/* Runs of many classes hide no more than the limit either, at the latest when time has passed. */
Test(heap_balance, runs_do_not_hide_free_memory, .init = start)
{
    enum { CLASSES = 20, EACH = 14 };
    static void *of_class[CLASSES][EACH];
    size_t held = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        for (unsigned k = 0; k < EACH; k++)
            for (unsigned n = 0; n < pm_class_blocks(EIGHT - i); n++) {
                void *block = pm_heap_take_one(heap, EIGHT - i);
                memset(block, 7, 8);
                if (n == 0)
                    of_class[i][k] = block;
            }
    for (unsigned i = 0; i < CLASSES; i++)
        for (unsigned k = EACH; k-- > 1;)
            for (unsigned n = 0; n < pm_class_blocks(EIGHT - i); n++) {
                void *block = (char *)of_class[i][k] + n * pm_class_size(EIGHT - i);
                pm_heap_return(&block, 1, PM_FOUND_LATER);
            }
    REQUIRE(heap->pools == CLASSES, "%zu pools", heap->pools);
    test_now += 1000;
    pm_heap_age(heap, test_now);
    require_lists(heap);
    for (unsigned i = 0; i < CLASSES; i++)
        for (unsigned k = 1; k < EACH; k++)
            held += page_is_resident(of_class[i][k]);
    REQUIRE(held <= BASE + 1, "%zu free pools are resident after a second, the limit is %d", held, BASE);
}

/* ---- Waves ---- */

/* Frees all pools but the last of each arena; returns how many of them the kernel still holds memory for. */
static size_t
drop(void)
{
    for (size_t pool = 0; pool < ARENAS * POOLS; pool++)
        if (pool % POOLS != POOLS - 1)
            free_pool(pool);
    return resident_of(0, ARENAS * POOLS) - ARENAS;
}

/* Takes as many pools as drop freed. */
static void
rise(void)
{
    for (size_t pool = 0; pool < ARENAS * POOLS; pool++)
        for (size_t i = pool * PER_POOL; pool % POOLS != POOLS - 1 && i < (pool + 1) * PER_POOL; i++) {
            blocks[i] = pm_heap_take_one(heap, EIGHT);
            memset(blocks[i], 7, 512);
        }
    REQUIRE(heap->pools == ARENAS * POOLS, "%zu pools", heap->pools);
}

/* The second time, what was given back in vain stays. */
Test(heap_balance, a_sawtooth_is_slow_once, .init = start)
{
    const size_t all = ARENAS * (POOLS - 1);
    fill(ARENAS);
    size_t kept = drop();
    REQUIRE(kept == heap->keep.dirty && kept <= BASE && heap->keep.given == all - kept, "%zu kept, %zu given", kept,
            heap->keep.given);
    rise();
    REQUIRE(heap->keep.learned == all - kept && heap->keep.given == 0, "%zu learned, %zu given", heap->keep.learned,
            heap->keep.given);
    for (int wave = 0; wave < 5; wave++) {
        size_t resident = drop(), in_run = heap->classes[EIGHT].run_count;
        REQUIRE(resident == all && heap->keep.dirty + in_run == all, "%zu of %zu are kept in wave %d, %zu in the run",
                heap->keep.dirty, all, wave, in_run);
        rise();
        REQUIRE(heap->keep.learned == all - kept, "wave %d: %zu learned", wave, heap->keep.learned);
    }
    require_lists(heap);
}

/* Afterwards it falls by 32 pools a millisecond from the first period on in which nothing was needed, and what is above
 * it goes whenever somebody looks. */
Test(heap_balance, what_was_learned_is_forgotten, .init = start)
{
    fill(ARENAS);
    drop();
    rise();
    drop();
    pm_heap_age(heap, ++test_now);
    size_t learned = heap->keep.learned, expected = learned;
    REQUIRE(learned > 20 * PM_KEEP_FALL_PER_MS, "%zu learned", learned);
    uint64_t begin = test_now;
    while (heap->keep.learned > 0 && heap->keep.dirty > BASE) {
        size_t idle = heap->keep.dirty, fall = 3 * PM_KEEP_FALL_PER_MS < idle ? 3 * PM_KEEP_FALL_PER_MS : idle;
        expected -= fall < expected ? fall : expected;
        test_now += 3;
        pm_heap_age(heap, test_now);
        REQUIRE(heap->keep.learned == expected, "%zu are left of %zu after %zu ms, not %zu", heap->keep.learned, learned,
                (size_t)(test_now - begin), expected);
        REQUIRE(heap->keep.dirty <= pm_keep_limit(&heap->keep, heap->pools), "%zu are kept", heap->keep.dirty);
        REQUIRE(resident_of(0, ARENAS * POOLS) - ARENAS == heap->keep.dirty, "%zu are resident",
                resident_of(0, ARENAS * POOLS) - ARENAS);
    }
    REQUIRE(heap->keep.dirty <= BASE && heap->keep.learned < POOLS && test_now - begin <= learned / PM_KEEP_FALL_PER_MS + 10, "%zu after %zu ms",
            heap->keep.dirty, (size_t)(test_now - begin));
    require_lists(heap);
}

/* Periods end in the waves' valleys and on their peaks: what every wave needs stays. */
Test(heap_balance, waves_with_pauses_cost_nothing, .init = start)
{
    const size_t all = ARENAS * (POOLS - 1);
    fill(ARENAS);
    drop();
    rise();
    for (size_t wave = 0; wave < 20; wave++) {
        test_now += 100;
        if (wave % 3 != 0)
            pm_heap_age(heap, test_now);
        size_t resident = drop();
        REQUIRE(resident == all, "wave %zu: %zu of %zu are kept", wave, resident, all);
        if (wave % 3 != 1)
            pm_heap_age(heap, test_now + 50);
        rise();
    }
}

/* Two threads read the clock at about the same time, and the later one comes first: nothing is forgotten by that. */
Test(heap_balance, a_clock_read_before_the_last_one, .init = start)
{
    fill(ARENAS);
    drop();
    rise();
    test_now += 20;
    pm_heap_age(heap, test_now);
    drop();
    test_now += 4;
    pm_heap_age(heap, test_now);
    struct pm_keep before = heap->keep;
    REQUIRE(before.learned > PM_KEEP_FALL_PER_MS && before.least > PM_KEEP_FALL_PER_MS, "%zu learned", before.learned);
    pm_heap_age(heap, test_now - 4);
    pm_heap_age(heap, test_now);
    REQUIRE(heap->keep.learned == before.learned && heap->keep.dirty == before.dirty, "%zu are left of %zu",
            heap->keep.learned, before.learned);
}

/* ---- Policies ---- */

Test(heap_balance, eager_keeps_nothing, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    fill(2);
    for (size_t pool = 0; pool < 2 * POOLS; pool++) {
        if (pool % POOLS == POOLS - 1)
            continue; /* so that the arenas stay with the heap, and no pool returns to the run */
        free_pool(pool);
        REQUIRE(!resident(pool) && heap->keep.dirty == 0, "pool %zu is still there", pool);
    }
    require_lists(heap);
}

Test(heap_balance, never_gives_nothing, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    fill(ARENAS);
    REQUIRE(drop() == ARENAS * (POOLS - 1), "%zu are left", resident_of(0, ARENAS * POOLS) - ARENAS);
    test_now += 1000000;
    pm_heap_age(heap, test_now);
    REQUIRE(resident_of(0, ARENAS * POOLS) == ARENAS * POOLS, "a heap that never gives back did");
    REQUIRE(pm_heap_purge(heap) && resident_of(0, ARENAS * POOLS) == ARENAS, "not even when asked");
    require_lists(heap);
}

/* ---- Frees by others ---- */

/* The heap's own thread sleeps; the one that frees finds that it is too much. */
Test(heap_balance, frees_by_another_thread_give_back_at_once, .init = start)
{
    fill(ARENAS);
    struct pm_heap *other = busy_heap();
    pm_heap_current = other;
    for (size_t i = 0; i < ARENAS * POOLS * PER_POOL; i++)
        if (i / PER_POOL % POOLS != POOLS - 1 && !pm_magazine_push(&other->magazines[EIGHT], blocks[i]))
            pm_magazine_flush(other, EIGHT, blocks[i]);
    pm_magazine_flush_all(other);
    REQUIRE(heap->keep.dirty <= BASE, "%zu are kept", heap->keep.dirty);
    REQUIRE(resident_of(0, ARENAS * POOLS) == ARENAS + heap->keep.dirty, "%zu are resident",
            resident_of(0, ARENAS * POOLS));
    REQUIRE(heap->classes[EIGHT].counts.flushed_remote == ARENAS * (POOLS - 1) * PER_POOL, "%zu blocks",
            (size_t)heap->classes[EIGHT].counts.flushed_remote);
    require_lists(heap);
    require_lists(other);
}

/* The thread's own magazines, flushed. */
Test(heap_balance, flushes_give_back_at_once, .init = start)
{
    fill(ARENAS);
    pm_heap_current = heap;
    for (size_t i = 0; i < ARENAS * POOLS * PER_POOL; i++)
        if (i / PER_POOL % POOLS != POOLS - 1 && !pm_magazine_push(&heap->magazines[EIGHT], blocks[i]))
            pm_magazine_flush(heap, EIGHT, blocks[i]);
    REQUIRE(heap->keep.dirty <= BASE + 1, "%zu are kept", heap->keep.dirty);
    pm_magazine_flush_all(heap);
    REQUIRE(resident_of(0, ARENAS * POOLS) == ARENAS + heap->keep.dirty && heap->keep.dirty <= BASE, "%zu resident",
            resident_of(0, ARENAS * POOLS));
    require_lists(heap);
}
