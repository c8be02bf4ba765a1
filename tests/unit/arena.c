/* SPDX-License-Identifier: MIT
 *
 * arena.h: the search for runs of free pools against a model that tries every place, for all small maps and many random
 * ones; and that a purge takes the memory of exactly the free dirty pools, or of those of them that have aged.
 */
#include "arena.h"

#include "region.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

enum { RANDOM_MAPS = 20000, PURGES = 100 };

/* What pm_arena_reserve promises: `wanted` pools, or half as many, or a quarter, ..., the lowest place first. */
static unsigned
naive_reserve(uint64_t map, unsigned wanted, unsigned *first)
{
    for (unsigned count = wanted; count > 0; count /= 2)
        for (*first = 0; *first + count <= 64; ++*first) {
            unsigned length = 0;
            while (length < count && (map >> (*first + length) & 1))
                length++;
            if (length == count)
                return count;
        }
    return 0;
}

static void
require_as_model(uint64_t map, unsigned wanted)
{
    struct pm_arena arena = {.free_pools = map, .dirty_pools = 0x123456789abcdef0, .assigned = 7};
    unsigned first = 99, expected_first;
    unsigned expected = naive_reserve(map, wanted, &expected_first);
    unsigned count = pm_arena_reserve(&arena, wanted, &first);
    REQUIRE(count == expected && (count == 0 || first == expected_first), "map %llx, %u wanted: %u at %u, not %u at %u",
            (unsigned long long)map, wanted, count, first, expected, expected_first);
    for (unsigned i = 0; i < 64; i++) {
        bool reserved = count != 0 && i >= first && i < first + count;
        REQUIRE((arena.free_pools >> i & 1) == (reserved ? 0 : map >> i & 1), "map %llx, %u wanted: pool %u",
                (unsigned long long)map, wanted, i);
    }
    REQUIRE(arena.dirty_pools == 0x123456789abcdef0 && arena.assigned == 7, "other fields were changed");
    if (count != 0)
        pm_arena_unreserve(&arena, first, count);
    REQUIRE(arena.free_pools == map, "map %llx became %llx", (unsigned long long)map,
            (unsigned long long)arena.free_pools);
}

/* Every map of 12 pools, at the low end, in the middle and at the high end. */
Test(arena, reserve_from_every_small_map)
{
    for (uint64_t bits = 0; bits < 1 << 12; bits++)
        for (unsigned wanted = 1; wanted <= 16; wanted++) {
            require_as_model(bits << 1, wanted);
            require_as_model(bits << 29, wanted);
            require_as_model(bits << 52, wanted);
        }
}

Test(arena, reserve_from_random_maps)
{
    struct random random = {test_seed("arena")};
    for (int i = 0; i < RANDOM_MAPS; i++) {
        /* Dense and sparse maps: more or fewer of the random words must agree. */
        uint64_t map = random_next(&random);
        for (uint64_t more = random_below(&random, 4); more > 0; more--)
            map = random_below(&random, 2) ? map | random_next(&random) : map & random_next(&random);
        require_as_model(map & PM_ARENA_ALL_POOLS, 1 + (unsigned)random_below(&random, 16));
    }
}

Test(arena, reserve_at_the_ends)
{
    for (unsigned wanted = 1; wanted <= 63; wanted++) {
        require_as_model(0, wanted);
        require_as_model(PM_ARENA_ALL_POOLS, wanted);
        require_as_model(pm_arena_bit(63), wanted);
        require_as_model(pm_arena_bit(1), wanted);
    }
}

Test(arena, init)
{
    struct pm_arena made;
    struct pm_heap *heap = (struct pm_heap *)&made;
    for (int dirty = 0; dirty < 2; dirty++) {
        memset(&made, 0xff, sizeof made);
        pm_arena_init(&made, heap, dirty);
        REQUIRE(made.free_pools == PM_ARENA_ALL_POOLS && made.heap == heap && made.next == NULL, "init");
        REQUIRE(made.dirty_pools == (dirty ? PM_ARENA_ALL_POOLS : 0), "dirty: %d", dirty);
        REQUIRE(made.previous == NULL && made.assigned == 0 && made.aged_pools == 0, "init");
        REQUIRE(made.wide_maps == 0 && made.wide_pools == 0, "init");
    }
}

/* ---- Purge ---- */

static struct pm_arena *arena;

static void
make_arena(void)
{
    bool dirty;
    fresh_region(PM_REGION_MIN);
    arena = (struct pm_arena *)pm_region_take_arena(&dirty);
    pm_arena_init(arena, NULL, dirty);
}

/* The size of the machine's pages, as far as arena.c knows: the linker's --wrap leads its question here. */
static size_t page_size = PM_POOL_SIZE;

size_t __wrap_pm_os_page_size(void);
size_t
__wrap_pm_os_page_size(void)
{
    return page_size;
}

/* Those of the pools whose neighbours in the same page are all among them. */
static uint64_t
whole_pages(uint64_t pools)
{
    uint64_t whole = 0;
    unsigned in_page = (unsigned)(page_size / PM_POOL_SIZE);
    for (unsigned i = 0; i < PM_ARENA_POOLS; i++) {
        bool all = in_page <= PM_ARENA_POOLS;
        for (unsigned k = i / in_page * in_page; all && k < i / in_page * in_page + in_page; k++)
            all = pools >> k & 1;
        whole |= (uint64_t)all << i;
    }
    return whole;
}

/* Purges an arena with these maps. */
static void
require_purge(uint64_t free_pools, uint64_t dirty_pools, uint64_t aged_pools, bool aged_only)
{
    uint64_t expected = whole_pages(free_pools & dirty_pools & (aged_only ? aged_pools : UINT64_MAX));
    for (unsigned i = 1; i < PM_ARENA_POOLS; i++)
        memset(pm_arena_pool(arena, i), (int)i, PM_POOL_SIZE);
    arena->free_pools = free_pools;
    arena->dirty_pools = dirty_pools;
    arena->aged_pools = aged_pools;
    unsigned purged = pm_arena_purge(arena, aged_only);
    REQUIRE(purged == (unsigned)__builtin_popcountll(expected), "%u pools", purged);
    REQUIRE(arena->free_pools == free_pools && arena->dirty_pools == (dirty_pools & ~expected), "the maps");
    REQUIRE(arena->aged_pools == (free_pools & arena->dirty_pools), "aged: %llx",
            (unsigned long long)arena->aged_pools);
    for (unsigned i = 1; i < PM_ARENA_POOLS; i++) {
        const unsigned char *pool = (const unsigned char *)pm_arena_pool(arena, i);
        bool gone = expected >> i & 1;
        REQUIRE(page_is_resident(pool) != gone, "pool %u of %llx", i, (unsigned long long)expected);
        REQUIRE(pool[0] == (gone ? 0 : i) && pool[PM_POOL_SIZE - 1] == (gone ? 0 : i), "the contents of pool %u", i);
    }
}

Test(arena, purge_takes_the_free_dirty_pools_and_no_others, .init = make_arena)
{
    const uint64_t all = PM_ARENA_ALL_POOLS;
    struct random random = {test_seed("purge")};
    for (int i = 0; i < PURGES; i++)
        require_purge(random_next(&random) & all, random_next(&random) & all, random_next(&random) & all, i % 2);
    for (int aged_only = 0; aged_only < 2; aged_only++) {
        require_purge(all, all, all, aged_only);
        require_purge(all, 0, all, aged_only);
        require_purge(0, all, all, aged_only);
        require_purge(all, all, 0, aged_only);
        require_purge(pm_arena_bit(63), all, all, aged_only);
    }
}

/* On a machine with larger pages a page goes when all of its pools can. */
Test(arena, purge_takes_whole_pages, .init = make_arena)
{
    const uint64_t all = PM_ARENA_ALL_POOLS;
    struct random random = {test_seed("purge")};
    for (page_size = 2 * PM_POOL_SIZE; page_size <= 4 * PM_ARENA_SIZE; page_size *= 2) {
        for (int i = 0; i < PURGES / 4; i++) {
            uint64_t free_pools = random_next(&random) | random_next(&random) | random_next(&random);
            uint64_t dirty_pools = random_next(&random) | random_next(&random) | random_next(&random);
            require_purge(free_pools & all, dirty_pools & all, all, 0);
        }
        require_purge(all, all, all, 0);
        require_purge(all & ~pm_arena_bit(63), all, all, 0);
    }
}

/* A pool ages when it is free and dirty at a purge, and is young again when it is used. */
Test(arena, pools_age_from_one_purge_to_the_next, .init = make_arena)
{
    for (unsigned i = 1; i <= 3; i++) {
        pm_arena_use(arena, i);
        REQUIRE(arena->assigned == i && arena->dirty_pools >> i & 1, "pool %u", i);
    }
    arena->free_pools = ~pm_arena_bit(0);
    REQUIRE(pm_arena_purge(arena, true) == 0, "purged what was free for no time");
    REQUIRE(pm_arena_purge(arena, true) == 3, "did not purge what has aged");
    for (unsigned i = 1; i <= 3; i++)
        pm_arena_use(arena, i);
    pm_arena_purge(arena, true);
    pm_arena_use(arena, 2);
    REQUIRE(pm_arena_purge(arena, true) == 2 && arena->dirty_pools == pm_arena_bit(2), "pool 2 was used meanwhile");
    REQUIRE(pm_arena_purge(arena, false) == 1 && pm_arena_purge(arena, false) == 0, "pool 2 is dirty");
}
