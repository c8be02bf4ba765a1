/* SPDX-License-Identifier: MIT
 *
 * region.h: which free arenas keep their memory and which give it back by themselves, by policy, with time, and in
 * waves; single cases, and a random sequence in which every arena's memory is watched. Without huge pages, which
 * region_huge.c has. The clock is the test's.
 */
#include "region.h"

#include "keep.h"
#include "options.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB ((size_t)1 << 20)
#define MARK 0x5a

enum { MOST = 250, STEPS = 2500, GROUP = 8 };

static uintptr_t arenas[MOST];
static struct pm_region_counts counts;

static struct pm_region_arena
take_one(void)
{
    struct pm_region_arena arena = pm_region_take_arena(false);
    REQUIRE(arena.address != 0 && !arena.huge, "no arena, or one of a huge page");
    *(char *)(arena.address + PM_POOL_SIZE) = MARK;
    return arena;
}

static void
start(void)
{
    pm_options.purge = PM_PURGE_BALANCED;
    pm_options.huge_pages = 0;
    fresh_region(64 * MIB);
    for (size_t i = 0; i < MOST; i++) {
        struct pm_region_arena arena = take_one();
        REQUIRE(!arena.dirty, "arena %zu is dirty", i);
        arenas[i] = arena.address;
    }
}

static bool
resident(size_t i)
{
    return page_is_resident((char *)arenas[i] + PM_POOL_SIZE);
}

static size_t
resident_of(size_t first, size_t end)
{
    size_t count = 0;
    for (size_t i = first; i < end; i++)
        count += resident(i);
    return count;
}

static void
give(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        pm_region_return_arena(arenas[i]);
    pm_region_counts(&counts);
}

/* ---- The limit ---- */

Test(region_balance, one_arena_is_kept_in_any_case, .init = start)
{
    give(7, 8);
    REQUIRE(counts.arenas_dirty == 1 && resident(7), "%zu dirty", counts.arenas_dirty);
    give(9, 10);
    REQUIRE(counts.arenas_dirty == 0 && !resident(7) && !resident(9), "%zu dirty above the limit",
            counts.arenas_dirty);
    REQUIRE(resident_of(0, MOST) == MOST - 2, "an arena in use lost its memory");
    test_now += 1000000;
    give(11, 12);
    pm_region_age(test_now);
    REQUIRE(resident(11), "the one arena went with time");
}

/* Memory that was given back and is needed again is kept the next time; then time lowers it. */
Test(region_balance, a_sawtooth_is_slow_once, .init = start)
{
    give(50, 150);
    REQUIRE(counts.arenas_dirty <= 1 && resident_of(50, 150) <= 1, "%zu dirty", counts.arenas_dirty);
    size_t kept = counts.arenas_dirty;
    for (size_t i = 50; i < 150; i++)
        REQUIRE(take_one().address == arenas[i], "arena %zu", i);
    for (int wave = 0; wave < 3; wave++) {
        give(50, 150);
        REQUIRE(counts.arenas_dirty == 100 && resident_of(50, 150) == 100, "wave %d: %zu dirty", wave,
                counts.arenas_dirty);
        for (size_t i = 50; i < 150; i++) {
            struct pm_region_arena arena = take_one();
            REQUIRE(arena.address == arenas[i] && arena.dirty, "arena %zu", i);
        }
    }
    give(50, 150);
    for (size_t ms = 0; ms < 2000; ms += 10) {
        /* 1 for the base, and what was learned, 32 pools a millisecond less. */
        size_t learned = (100 - kept) * PM_ARENA_POOLS, fallen = ms * PM_KEEP_FALL_PER_MS;
        size_t limit = PM_ARENA_POOLS + (fallen < learned ? learned - fallen : 0);
        pm_region_age(test_now + ms);
        pm_region_counts(&counts);
        REQUIRE(counts.arenas_dirty * PM_ARENA_POOLS <= limit, "after %zu ms: %zu dirty, the limit is %zu pools", ms,
                counts.arenas_dirty, limit);
        REQUIRE((counts.arenas_dirty + GROUP) * PM_ARENA_POOLS >= pm_keep_target(limit) - limit / 8,
                "after %zu ms: only %zu dirty, the limit is %zu pools", ms, counts.arenas_dirty, limit);
        REQUIRE(resident_of(50, 150) == counts.arenas_dirty, "%zu are resident", resident_of(50, 150));
    }
    /* The lowest ones are left. */
    size_t left = counts.arenas_dirty;
    REQUIRE(left <= 1 && resident_of(50, 50 + left) == left, "%zu are left", left);
}

Test(region_balance, a_clock_read_before_the_last_one, .init = start)
{
    give(50, 150);
    for (size_t i = 50; i < 150; i++)
        take_one();
    pm_region_age(test_now);
    pm_region_age(test_now - 4);
    pm_region_age(test_now);
    give(50, 150);
    REQUIRE(counts.arenas_dirty == 100, "a clock read 4 ms earlier made it forget: %zu of 100 are kept",
            counts.arenas_dirty);
}

/* The highest go first, two megabytes at a time, and no more than has to: the region has learned to keep some 100. */
Test(region_balance, the_highest_go_first, .init = start)
{
    give(50, 150);
    for (size_t i = 50; i < 150; i++)
        take_one();
    pm_options.purge = PM_PURGE_NEVER;
    give(10, 20);
    give(100, 160);
    give(200, 240);
    pm_options.purge = PM_PURGE_BALANCED;
    pm_region_age(test_now);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty < 90 && counts.arenas_dirty > 80, "%zu are kept", counts.arenas_dirty);
    REQUIRE(resident_of(10, 20) == 10 && resident_of(100, 160) == 60, "the lowest have gone");
    REQUIRE(resident_of(200, 240) == counts.arenas_dirty - 70, "%zu", resident_of(200, 240));
    for (size_t i = 201; i < 240; i++)
        REQUIRE(!resident(i) || resident(i - 1), "arena %zu is left, the one before it has gone", i);
    REQUIRE(resident_of(0, 10) == 10 && resident_of(20, 100) == 80 && resident_of(240, MOST) == MOST - 240,
            "arenas in use");
}

/* ---- Policies ---- */

Test(region_balance, eager_keeps_nothing, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    for (size_t i = 0; i < MOST; i++) {
        give(i * 77 % MOST, i * 77 % MOST + 1);
        REQUIRE(counts.arenas_dirty == 0 && !resident(i * 77 % MOST), "arena %zu", i * 77 % MOST);
    }
    REQUIRE(!pm_region_purge(), "there was more");
}

Test(region_balance, never_keeps_all, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    give(0, MOST);
    test_now += 1000000;
    pm_region_age(test_now);
    REQUIRE(resident_of(0, MOST) == MOST, "%zu are left", resident_of(0, MOST));
    REQUIRE(pm_region_purge() && resident_of(0, MOST) == 0, "not even when asked");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0 && !pm_region_purge(), "%zu dirty", counts.arenas_dirty);
}

/* ---- Random ---- */

static bool taken[MOST], held[MOST]; /* held: the kernel holds memory for it */

/* The arena's huge page, were it one. */
static uintptr_t
group_of(size_t i)
{
    return arenas[i] / PM_REGION_ALIGNMENT;
}

/* Compares each arena's memory with what it was before the last call: what is gone was free, and nothing dirty lies
 * higher, except in the same two megabytes. */
static void
require_only_highest_gone(size_t step)
{
    size_t lowest_gone = MOST, dirty = 0;
    for (size_t i = 0; i < MOST; i++) {
        bool now = resident(i);
        REQUIRE(!now || held[i], "step %zu: arena %zu has memory", step, i);
        REQUIRE(now || !taken[i], "step %zu: arena %zu is in use and lost its memory", step, i);
        if (!now && held[i] && lowest_gone == MOST)
            lowest_gone = i;
        held[i] = now;
        dirty += now && !taken[i];
    }
    for (size_t i = lowest_gone; i < MOST; i++)
        REQUIRE(!held[i] || taken[i] || group_of(i) == group_of(lowest_gone), "step %zu: %zu has gone, %zu is left",
                step, lowest_gone, i);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == dirty, "step %zu: %zu are dirty, not %zu", step, dirty, counts.arenas_dirty);
}

static void
take_lowest(size_t step)
{
    size_t lowest = 0;
    while (lowest < MOST && taken[lowest])
        lowest++;
    if (lowest == MOST)
        return;
    struct pm_region_arena arena = take_one();
    REQUIRE(arena.address == arenas[lowest], "step %zu: not the lowest, %zu", step, lowest);
    REQUIRE(arena.dirty == held[lowest], "step %zu: arena %zu, dirty: %d", step, lowest, arena.dirty);
    taken[lowest] = held[lowest] = true;
}

static void
random_sequence(enum pm_purge_policy policy)
{
    struct random random = {test_seed("region_balance")};
    pm_options.purge = policy;
    for (size_t i = 0; i < MOST; i++)
        taken[i] = held[i] = true;
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = random_below(&random, MOST);
        bool falling = step / 300 % 2 == 0;
        if (random_below(&random, 100) < (falling ? 30 : 70))
            take_lowest(step);
        else if (taken[i]) {
            taken[i] = false;
            pm_region_return_arena(arenas[i]);
        }
        test_now += random_below(&random, 20) == 0 ? random_below(&random, 40) : 0;
        if (random_below(&random, 50) == 0)
            pm_region_age(test_now);
        if (random_below(&random, 500) == 0)
            pm_region_purge();
        require_only_highest_gone(step);
        REQUIRE(policy != PM_PURGE_EAGER || counts.arenas_dirty == 0, "step %zu: eager, and dirty", step);
    }
}

Test(region_balance, random_balanced, .init = start)
{
    random_sequence(PM_PURGE_BALANCED);
}

Test(region_balance, random_eager, .init = start)
{
    random_sequence(PM_PURGE_EAGER);
}

Test(region_balance, random_never, .init = start)
{
    random_sequence(PM_PURGE_NEVER);
}
