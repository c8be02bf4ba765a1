/* SPDX-License-Identifier: MIT
 *
 * region.h: free arenas whose memory the kernel does not take back, because the program has locked it; also those of a
 * huge page that was broken up. They stay dirty until it does.
 */
#include "region.h"

#include "keep.h"
#include "options.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

/* Of the second chunk, two huge pages. */
enum { FIRST = 63, COUNT = 16, GROUP = 8 };

static uintptr_t arenas[FIRST + COUNT];
static struct pm_region_counts counts;

static void
start(void)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    for (size_t i = 0; i < FIRST + COUNT; i++) {
        arenas[i] = pm_region_take_arena(i >= FIRST).address;
        REQUIRE(arenas[i] != 0, "no arena %zu", i);
    }
    for (size_t i = FIRST; i < FIRST + COUNT; i++)
        memset((void *)arenas[i], 7, PM_ARENA_SIZE);
}

static void
lock_page_of(size_t i)
{
    REQUIRE(lock_pages((void *)(arenas[i] + 5 * PM_POOL_SIZE), PM_POOL_SIZE) == 0, "mlock");
}

static void
give(void)
{
    for (size_t i = FIRST; i < FIRST + COUNT; i++)
        pm_region_return_arena(arenas[i]);
    pm_region_counts(&counts);
}

static void
require_dirty(size_t expected)
{
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == expected, "%zu arenas are dirty instead of %zu", counts.arenas_dirty, expected);
    size_t resident = 0;
    for (size_t i = FIRST; i < FIRST + COUNT; i++)
        resident += resident_pages((void *)arenas[i], PM_ARENA_SIZE) != 0;
    REQUIRE(resident == expected, "%zu hold memory instead of %zu", resident, expected);
}

Test(region_locked, an_arena_stays_and_the_others_go, .init = start)
{
    lock_page_of(FIRST + 3);
    lock_page_of(FIRST + 12);
    give();
    REQUIRE(pm_region_purge(), "nothing was purged");
    require_dirty(2);
    REQUIRE(!pm_region_purge(), "purged twice");
    require_dirty(2);
    unlock_pages();
    REQUIRE(pm_region_purge(), "nothing was purged");
    require_dirty(0);
}

/* It is renewed when its last arena comes back, if the kernel lets it; and later, when it does. */
Test(region_locked, a_broken_huge_page, .init = start)
{
    pm_region_break_huge_page(arenas[FIRST]);
    lock_page_of(FIRST + 3);
    give();
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == COUNT, "%zu are dirty", counts.arenas_dirty);
    REQUIRE(pm_region_purge(), "the other huge page was not purged");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == GROUP, "%zu are dirty", counts.arenas_dirty);
    REQUIRE(((char *)arenas[FIRST + 3])[5 * PM_POOL_SIZE] == 7, "a locked page lost its contents");
    unlock_pages();
    REQUIRE(pm_region_purge(), "nothing was purged");
    require_dirty(0);
    REQUIRE(!mapping_has_flag((void *)arenas[FIRST], "hg"), "the huge page is whole");
    REQUIRE(pm_region_take_arena(false).address == arenas[FIRST], "the arena");
}

Test(region_locked, the_limit_is_not_tried_again_and_again, .init = start)
{
    for (size_t i = FIRST; i < FIRST + COUNT; i++)
        lock_page_of(i);
    pm_options.purge = PM_PURGE_EAGER;
    give();
    require_dirty(COUNT);
    for (int period = 1; period < 5; period++)
        REQUIRE(!pm_region_age(test_now + 100 * (unsigned)period), "it would give back more with time");
    require_dirty(COUNT);
    unlock_pages();
    pm_region_age(test_now + 1000);
    require_dirty(0);
}
