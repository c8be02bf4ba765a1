/* SPDX-License-Identifier: MIT
 *
 * purge.h: what one period does and what the next, for pools, arenas and magazines, in the thread's own heap and in
 * others; and the policies. The clock is the test's: the linker's --wrap leads pm_os_milliseconds here.
 */
#include "purge.h"

#include "options.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

enum { CLASS = 64, PER_POOL = 8, POOLS = 40, EAGER_PERIOD = 10, BALANCED_PERIOD = 100 };

static void *blocks[POOLS * PER_POOL];
static struct pm_heap *own;

static uint64_t now = 1000000;
static void (*meanwhile)(void); /* what another thread does while this one has just looked at the clock */

uint64_t __wrap_pm_os_milliseconds(void);
uint64_t
__wrap_pm_os_milliseconds(void)
{
    uint64_t seen = now;
    void (*happens)(void) = meanwhile;
    meanwhile = NULL;
    if (happens != NULL)
        happens();
    return seen;
}

static void
pass(unsigned milliseconds)
{
    now += milliseconds;
}

/* Takes all blocks of POOLS pools of a heap and writes to them. */
static void
take(struct pm_heap *heap)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(heap, CLASS);
        memset(blocks[i], 7, 512);
    }
}

/* Returns the blocks but those of every fourth pool. */
static void
give_most(void)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (i / PER_POOL % 4 != 0)
            pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
}

/* Of the pools that are free now. */
static size_t
resident(void)
{
    size_t count = 0;
    for (size_t i = 0; i < POOLS; i++)
        count += i % 4 != 0 && page_is_resident(blocks[i * PER_POOL]);
    return count;
}

static void
start(void)
{
    own = pm_process_heap();
    pm_options.purge = PM_PURGE_EAGER;
    pm_purge_tick(own);
}

/* ---- Pools ---- */

Test(purge, free_pools_stay_for_a_whole_period_and_go_after_the_next, .init = start)
{
    take(own);
    give_most();
    pm_purge_tick(own);
    REQUIRE(resident() == 30, "%zu at once", resident());
    pass(EAGER_PERIOD);
    pm_purge_tick(own); /* they were free at the end of this period, maybe only then */
    REQUIRE(resident() == 30, "%zu after one period", resident());
    pm_purge_tick(own);
    REQUIRE(resident() == 30, "%zu, and no time has passed", resident());
    pass(EAGER_PERIOD - 1);
    pm_purge_tick(own);
    REQUIRE(resident() == 30, "%zu before the period is over", resident());
    pass(1);
    pm_purge_tick(own);
    REQUIRE(resident() == 0, "%zu after two periods", resident());
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        REQUIRE(i / PER_POOL % 4 != 0 || *(char *)blocks[i] == 7, "block %zu lost its contents", i);
    pm_heap_verify(own);
}

/* What is used in every period never leaves, though it is free whenever the clock is looked at. */
Test(purge, pools_in_use_now_and_then_stay, .init = start)
{
    for (int period = 0; period < 6; period++) {
        take(own);
        give_most();
        pass(EAGER_PERIOD);
        pm_purge_tick(own);
        REQUIRE(resident() == 30, "%zu after period %d", resident(), period);
        for (size_t i = 0; i < POOLS * PER_POOL; i++)
            if (i / PER_POOL % 4 == 0)
                pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
    }
}

static void
end_period_a_moment_later(void)
{
    pass(1);
    pm_purge_tick(own);
}

/* A thread that looks at the clock may be stopped there while another one, a moment later, ends the period: the first
 * must not take its own time, which is now before the new period's start, for the end of that. */
Test(purge, a_period_ends_once, .init = start)
{
    take(own);
    give_most();
    pass(EAGER_PERIOD);
    meanwhile = end_period_a_moment_later;
    pm_purge_tick(own);
    REQUIRE(resident() == 30, "%zu are left of what was used a moment ago", resident());
    pass(EAGER_PERIOD - 1);
    pm_purge_tick(own);
    REQUIRE(resident() == 30, "%zu before the period is over", resident());
    pass(1);
    pm_purge_tick(own);
    REQUIRE(resident() == 0, "%zu after the period", resident());
}

static void *
get_heap(void *unused)
{
    (void)unused;
    return pm_process_heap();
}

/* Any thread's tick serves all heaps: here a heap that nobody uses. */
Test(purge, heaps_of_others_are_purged_too, .init = start)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, get_heap, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
    struct pm_heap *parked = pm_process_first_heap();
    REQUIRE(parked != own && parked->state == PM_HEAP_PARKED, "no parked heap");
    take(parked);
    give_most();
    for (int period = 0; period < 2; period++) {
        REQUIRE(resident() == 30, "%zu in period %d", resident(), period);
        pass(EAGER_PERIOD);
        pm_purge_tick(own);
    }
    REQUIRE(resident() == 0, "%zu after two periods", resident());
}

/* ---- Arenas ---- */

Test(purge, free_arenas_go_as_well, .init = start)
{
    struct pm_region_counts counts;
    take(own);
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
    for (int period = 0; period < 2; period++) {
        pm_region_counts(&counts);
        REQUIRE(counts.arenas == 0 && counts.arenas_dirty == 1, "%zu, %zu", counts.arenas, counts.arenas_dirty);
        pass(EAGER_PERIOD);
        pm_purge_tick(own);
    }
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0 && resident() == 0, "%zu dirty, %zu pools", counts.arenas_dirty, resident());
}

/* ---- Magazines ---- */

Test(purge, a_thread_empties_its_magazines_once_a_period, .init = start)
{
    void *block = pm_heap_refill(own, CLASS);
    struct pm_magazine *magazine = &own->magazines[CLASS];
    pm_magazine_push(magazine, block);
    unsigned count = pm_magazine_count(magazine);
    pm_purge_tick(own);
    REQUIRE(count != 0 && pm_magazine_count(magazine) == count, "emptied within the period");
    pass(EAGER_PERIOD);
    pm_purge_tick(own);
    REQUIRE(pm_magazine_count(magazine) == 0, "%u blocks are left", pm_magazine_count(magazine));
    REQUIRE(pm_pool_check(block) != PM_FAULT_NONE, "the block did not return to its pool");
}

/* ---- Policies ---- */

Test(purge, the_balanced_policy_has_longer_periods, .init = start)
{
    pm_options.purge = PM_PURGE_BALANCED;
    take(own);
    give_most();
    for (unsigned passed = 1; passed < 2 * BALANCED_PERIOD; passed++) {
        pass(1);
        pm_purge_tick(own);
        REQUIRE(resident() == 30, "%zu after %u ms", resident(), passed);
    }
    pass(1);
    pm_purge_tick(own);
    REQUIRE(resident() == 0, "%zu after two periods", resident());
}

Test(purge, never_means_only_when_asked, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    take(own);
    give_most();
    for (int i = 0; i < 3; i++) {
        pass(BALANCED_PERIOD);
        pm_purge_tick(own);
    }
    REQUIRE(resident() == 30, "%zu", resident());
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
    REQUIRE(!pm_purge_now(), "purged twice");
}

/* Everything at once, whatever its age, the magazines first. */
Test(purge, now, .init = start)
{
    take(own);
    void *waiting = pm_heap_refill(own, 8);
    REQUIRE(pm_magazine_count(&own->magazines[8]) != 0, "no blocks wait");
    give_most();
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
    REQUIRE(pm_magazine_count(&own->magazines[8]) == 0, "blocks wait in a magazine");
    REQUIRE(own->classes[8].pools == 1 && pm_pool_check(waiting) == PM_FAULT_NONE, "a block in use");
    pm_heap_verify(own);
}
