/* SPDX-License-Identifier: MIT
 *
 * purge.h and heap.h: pages that the kernel does not take back, because the program has locked them. They stay dirty and
 * count as such, nothing tries again and again, the others go, and all of them once they are unlocked.
 */
#include "purge.h"

#include "options.h"
#include "os.h"
#include "process.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

/* A class with eight blocks to a pool; of POOLS pools three in four become free. No more memory is locked than an
 * ordinary user may lock. */
enum { CLASS = 64, PER_POOL = 8, POOLS = 400, FREED = POOLS / 4 * 3, BASE = 32, PERIOD = 100 };

static void *blocks[POOLS * PER_POOL];
static struct pm_heap *own;

/* Counts the attempts. */
static size_t attempts, refusals;
bool __real_pm_os_discard(void *address, size_t size);
bool __wrap_pm_os_discard(void *address, size_t size);

bool
__wrap_pm_os_discard(void *address, size_t size)
{
    bool done = __real_pm_os_discard(address, size);
    attempts++;
    refusals += !done;
    return done;
}

static void
start(void)
{
    own = pm_process_heap();
    REQUIRE(pm_options.purge == PM_PURGE_BALANCED, "the defaults");
    pm_purge_tick(own);
    for (size_t i = 0; i < POOLS * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(own, CLASS);
        memset(blocks[i], 7, 512);
    }
}

static bool
is_freed(size_t pool)
{
    return pool % 4 != 3;
}

static void
lock(size_t first, size_t end)
{
    for (size_t pool = first; pool < end; pool++)
        REQUIRE(lock_pages((void *)pm_pool_of(blocks[pool * PER_POOL]), PM_POOL_SIZE) == 0, "mlock of pool %zu", pool);
}

static void
unlock_all(void)
{
    REQUIRE(unlock_pages() == 0, "munlockall");
}

static void
give_most(void)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (is_freed(i / PER_POOL))
            pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
}

/* Of the pools that give_most makes free. */
static size_t
resident(void)
{
    size_t count = 0;
    for (size_t pool = 0; pool < POOLS; pool++)
        count += is_freed(pool) && page_is_resident(blocks[pool * PER_POOL]);
    return count;
}

static void
pass_a_period(void)
{
    test_now += PERIOD;
    pm_purge_tick(own);
}

Test(purge_locked, all_of_it, .init = start)
{
    lock(0, POOLS);
    give_most();
    REQUIRE(resident() == FREED && own->keep.dirty == FREED, "%zu dirty of %u", own->keep.dirty, FREED);
    REQUIRE(own->keep.given == 0 && own->keep.learned == 0, "%zu were given back, it says", own->keep.given);
    require_lists(own);
    /* Where a batch is freed, the kernel is not asked each time. Its pools may be asked for one by one. */
    REQUIRE(refusals <= PM_KEEP_REFUSALS * PM_ARENA_POOLS, "%zu attempts in vain in one period", refusals);
    refusals = attempts = 0;
    for (int i = 0; i < 100; i++) {
        void *block = pm_heap_take_one(own, CLASS);
        pm_heap_return(&block, 1, PM_FOUND_LATER);
        pm_purge_tick(own);
    }
    REQUIRE(attempts == 0, "%zu attempts in the same period", attempts);
    pass_a_period();
    REQUIRE(attempts > 0 && attempts <= PM_KEEP_REFUSALS * PM_ARENA_POOLS, "%zu attempts in the next period", attempts);
    REQUIRE(!pm_purge_now() && resident() == FREED, "locked pages were given back");
    /* One page that the loop took first is not locked. */
    REQUIRE(own->keep.dirty == FREED && own->keep.given <= 1, "%zu dirty, %zu given", own->keep.dirty, own->keep.given);
    require_lists(own);

    unlock_all();
    pass_a_period();
    REQUIRE(resident() == own->keep.dirty && resident() <= BASE + POOLS / 4 / 64, "%zu stay without a lock", resident());
    require_lists(own);
    pm_purge_now();
    REQUIRE(resident() == 0 && own->keep.dirty == 0, "%zu are left", resident());
    require_lists(own);
}

/* Somebody forgot to unlock a buffer. Its page stays, and no other. */
Test(purge_locked, one_page, .init = start)
{
    lock(84, 85);
    give_most();
    REQUIRE(resident() == own->keep.dirty && resident() <= BASE + POOLS / 4 / 64, "%zu stay", resident());
    REQUIRE(page_is_resident(blocks[84 * PER_POOL]), "a locked page was given back");
    require_lists(own);
    REQUIRE(pm_purge_now() && resident() == 1 && own->keep.dirty == 1, "%zu are left", resident());
    REQUIRE(!pm_purge_now(), "purged twice");
    REQUIRE(*(char *)blocks[84 * PER_POOL] == 7, "the locked page lost its contents");
    unlock_all();
    REQUIRE(pm_purge_now() && resident() == 0 && own->keep.dirty == 0, "%zu are left", resident());
    require_lists(own);
}

/* A page of each arena: the other pages go all the same, if not in this period, then in the next. */
Test(purge_locked, a_page_of_every_arena, .init = start)
{
    size_t locked = 0;
    for (size_t pool = 0; pool < POOLS; pool += 32) {
        lock(pool, pool + 1);
        locked++;
    }
    give_most();
    pass_a_period();
    REQUIRE(resident() <= BASE + POOLS / 4 / 64 + locked, "%zu stay", resident());
    pm_purge_now();
    REQUIRE(resident() == locked && own->keep.dirty == locked, "%zu are left", resident());
    require_lists(own);
}

/* A limit of nothing ends no loop. */
Test(purge_locked, eagerly, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    lock(0, POOLS / 2);
    give_most();
    pass_a_period();
    REQUIRE(resident() == FREED / 2 && own->keep.dirty == FREED / 2, "%zu stay", resident());
    require_lists(own);
    unlock_all();
    pass_a_period();
    REQUIRE(resident() == 0 && own->keep.dirty == 0, "%zu are left", resident());
}

/* With everything freed the arenas go to the region, which keeps what the kernel does not take. */
Test(purge_locked, free_arenas, .init = start)
{
    struct pm_region_counts counts;
    lock(0, POOLS);
    give_most();
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (!is_freed(i / PER_POOL))
            pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0 && counts.arenas_dirty >= POOLS / 63, "%zu arenas, %zu dirty", counts.arenas,
            counts.arenas_dirty);
    REQUIRE(!pm_purge_now() && resident() == FREED, "locked pages were given back");
    attempts = 0;
    pass_a_period();
    REQUIRE(attempts > 0 && attempts <= 2 * PM_KEEP_REFUSALS, "%zu attempts in a period", attempts);
    size_t dirty = counts.arenas_dirty;
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == dirty, "%zu are dirty of %zu", counts.arenas_dirty, dirty);
    unlock_all();
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0, "%zu are dirty", counts.arenas_dirty);
}
