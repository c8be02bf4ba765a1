/* SPDX-License-Identifier: MIT
 *
 * arena.h: the search for runs of free pools against a model that tries every place, for all small maps and many random
 * ones; what counts as worth giving back; and that a purge takes the memory of exactly the free dirty pools.
 */
#include "arena.h"

#include "options.h"
#include "region.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

enum { RANDOM_MAPS = 20000, PURGES = 100, HUGE_MIN = 8 };

/* The lowest place of `count` neighbours in the map. */
static bool
naive_find(uint64_t map, unsigned count, unsigned *first)
{
    for (*first = 0; *first + count <= 64; ++*first) {
        unsigned length = 0;
        while (length < count && (map >> (*first + length) & 1))
            length++;
        if (length == count)
            return true;
    }
    return false;
}

/* What pm_arena_reserve promises: `wanted` pools, or half, or a quarter, ...; dirty ones if there are so many. */
static unsigned
naive_reserve(uint64_t map, uint64_t dirty, unsigned wanted, unsigned *first)
{
    for (unsigned count = wanted; count > 0; count /= 2)
        if (naive_find(map & dirty, count, first) || naive_find(map, count, first))
            return count;
    return 0;
}

static void
require_as_model_with(uint64_t map, uint64_t dirty, unsigned wanted)
{
    struct pm_arena arena = {.free_pools = map, .dirty_pools = dirty, .assigned = 7, .list = 1, .purgeable = 5};
    unsigned first = 99, expected_first;
    unsigned expected = naive_reserve(map, dirty, wanted, &expected_first);
    unsigned count = pm_arena_reserve(&arena, wanted, &first);
    REQUIRE(count == expected && (count == 0 || first == expected_first),
            "map %llx, dirty %llx, %u wanted: %u at %u, not %u at %u", (unsigned long long)map,
            (unsigned long long)dirty, wanted, count, first, expected, expected_first);
    uint64_t reserved = 0;
    for (unsigned i = first; count != 0 && i < first + count; i++)
        reserved |= UINT64_C(1) << i;
    REQUIRE(arena.free_pools == (map & ~reserved), "map %llx, %u wanted: %llx is left", (unsigned long long)map,
            wanted, (unsigned long long)arena.free_pools);
    REQUIRE(arena.dirty_pools == dirty && arena.assigned == 7 && arena.list == 1 && arena.purgeable == 5,
            "other fields were changed");
    if (count != 0)
        pm_arena_unreserve(&arena, first, count);
    REQUIRE(arena.free_pools == map && arena.dirty_pools == dirty, "map %llx became %llx", (unsigned long long)map,
            (unsigned long long)arena.free_pools);
}

/* All clean, all dirty, and a mixture that depends on the map. */
static void
require_as_model(uint64_t map, unsigned wanted)
{
    require_as_model_with(map, 0, wanted);
    require_as_model_with(map, UINT64_MAX, wanted);
    uint64_t mixture = map * UINT64_C(0x9e3779b97f4a7c15);
    require_as_model_with(map, mixture ^ mixture >> 29 ^ wanted, wanted);
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
        uint64_t dirty = random_next(&random) | random_next(&random);
        require_as_model_with(map & PM_ARENA_ALL_POOLS, dirty, 1 + (unsigned)random_below(&random, 16));
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

/* A dirty run of the full length is better than a lower one, a longer one than one that is dirty. */
Test(arena, reserve_prefers_dirty_pools_but_no_shorter_runs)
{
    const uint64_t all = PM_ARENA_ALL_POOLS;
    unsigned first;
    struct pm_arena arena = {.free_pools = all, .dirty_pools = UINT64_C(0xf) << 40};
    REQUIRE(pm_arena_reserve(&arena, 4, &first) == 4 && first == 40, "not the dirty run, but %u", first);
    arena = (struct pm_arena){.free_pools = all, .dirty_pools = UINT64_C(0xf) << 40};
    REQUIRE(pm_arena_reserve(&arena, 5, &first) == 5 && first == 1, "five at %u, of which not all are dirty", first);
    arena = (struct pm_arena){.free_pools = all, .dirty_pools = pm_arena_bit(63) | pm_arena_bit(20)};
    REQUIRE(pm_arena_reserve(&arena, 1, &first) == 1 && first == 20, "not the lowest dirty one, but %u", first);
    arena = (struct pm_arena){.free_pools = pm_arena_bit(7), .dirty_pools = pm_arena_bit(9)};
    REQUIRE(pm_arena_reserve(&arena, 16, &first) == 1 && first == 7, "a pool in use, %u", first);
}

Test(arena, init)
{
    struct pm_arena made;
    struct pm_heap *heap = (struct pm_heap *)&made;
    for (int i = 0; i < 4; i++) {
        bool dirty = i & 1, huge = i & 2;
        memset(&made, 0xff, sizeof made);
        made.dirty_pools = UINT64_C(0x1230);
        pm_arena_init(&made, heap, dirty, huge);
        /* As another heap left it; and of a huge page the first touch makes all resident. */
        uint64_t expected = huge ? PM_ARENA_ALL_POOLS : dirty ? UINT64_C(0x1230) : 0;
        REQUIRE(made.dirty_pools == expected, "dirty: %d, huge: %d: %llx", dirty, huge,
                (unsigned long long)made.dirty_pools);
        REQUIRE(made.free_pools == PM_ARENA_ALL_POOLS && made.heap == heap && made.next == NULL, "init");
        REQUIRE(made.previous == NULL && made.assigned == 0 && made.purgeable == 0 && made.huge == huge, "init");
        REQUIRE(made.wide_maps == 0 && made.wide_pools == 0, "init");
        /* One whose header nobody has written: what is dirty of it is not known. */
        memset(&made, 0, sizeof made);
        pm_arena_init(&made, heap, dirty, huge);
        REQUIRE(made.dirty_pools == (dirty || huge ? PM_ARENA_ALL_POOLS : 0), "dirty: %d, huge: %d: %llx", dirty, huge,
                (unsigned long long)made.dirty_pools);
    }
}

Test(arena, use_makes_dirty)
{
    struct pm_arena arena = {.free_pools = 0};
    for (unsigned i = 1; i < PM_ARENA_POOLS; i++) {
        pm_arena_use(&arena, i);
        REQUIRE(arena.assigned == i && arena.dirty_pools == pm_run_bits((struct pm_run){1, i}), "pool %u", i);
    }
    REQUIRE(arena.free_pools == 0, "a pool in use is free");
}

/* ---- Purge ---- */

static struct pm_arena *arena;

static void
make_arena(void)
{
    fresh_region(PM_REGION_MIN);
    struct pm_region_arena taken = pm_region_take_arena(false);
    REQUIRE(!taken.dirty && !taken.huge, "a fresh arena of a small program");
    arena = (struct pm_arena *)taken.address;
    pm_arena_init(arena, NULL, taken.dirty, taken.huge);
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

/* Purges an arena with these maps, of which it first says how much there is to purge. */
static void
require_purge(uint64_t free_pools, uint64_t dirty_pools, bool huge)
{
    uint64_t expected = whole_pages(free_pools & dirty_pools);
    unsigned count = (unsigned)__builtin_popcountll(expected);
    for (unsigned i = 1; i < PM_ARENA_POOLS; i++)
        memset(pm_arena_pool(arena, i), (int)i, PM_POOL_SIZE);
    arena->free_pools = free_pools;
    arena->dirty_pools = dirty_pools;
    arena->huge = huge;
    unsigned purgeable = pm_arena_purgeable(arena);
    REQUIRE(purgeable == (huge && count < HUGE_MIN ? 0 : count), "%u of %u pools can be purged", purgeable, count);
    bool refused = false;
    unsigned purged = pm_arena_purge(arena, &refused);
    REQUIRE(purged == count && !refused, "%u pools instead of %u", purged, count);
    REQUIRE(arena->free_pools == free_pools && arena->dirty_pools == (dirty_pools & ~expected), "the maps");
    REQUIRE(pm_arena_purgeable(arena) == 0 && arena->huge == (huge && count == 0), "something is left, huge: %d",
            arena->huge);
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
        require_purge(random_next(&random) & all, random_next(&random) & all, i % 2);
    for (int huge = 0; huge < 2; huge++) {
        require_purge(all, all, huge);
        require_purge(all, 0, huge);
        require_purge(0, all, huge);
        require_purge(pm_arena_bit(63), all, huge);
        require_purge(pm_arena_bit(1), pm_arena_bit(1), huge);
    }
}

/* An eighth of the arena is worth a huge page, less is not; asked to, it is purged all the same. */
Test(arena, a_huge_page_is_not_broken_up_for_little, .init = make_arena)
{
    for (unsigned count = 1; count < PM_ARENA_POOLS; count++) {
        uint64_t pools = pm_run_bits((struct pm_run){PM_ARENA_POOLS - count, count});
        arena->free_pools = arena->dirty_pools = pools;
        arena->huge = true;
        REQUIRE(pm_arena_purgeable(arena) == (count < HUGE_MIN ? 0 : count), "%u of %u", pm_arena_purgeable(arena),
                count);
        arena->huge = false;
        REQUIRE(pm_arena_purgeable(arena) == count, "%u of %u, small pages", pm_arena_purgeable(arena), count);
        require_purge(pools, PM_ARENA_ALL_POOLS, true);
    }
}

/* The region hears of it before the memory goes: the mapping asks for no huge page, its neighbours still do. */
Test(arena, purge_breaks_the_huge_page)
{
    struct pm_region_arena taken;
    pm_options.huge_pages = 1;
    pm_options.purge = 2;
    fresh_region((size_t)64 << 20);
    do
        taken = pm_region_take_arena(true);
    while (!taken.huge);
    for (unsigned i = 0; i < PM_REGION_ALIGNMENT / PM_ARENA_SIZE; i++)
        REQUIRE(pm_region_take_arena(true).huge, "arena %u behind it", i);
    REQUIRE(taken.address % PM_REGION_ALIGNMENT == 0, "not the first arena of a huge page");
    arena = (struct pm_arena *)taken.address;
    pm_arena_init(arena, NULL, taken.dirty, taken.huge);
    REQUIRE(arena->huge && arena->dirty_pools == PM_ARENA_ALL_POOLS, "the first touch makes all of it resident");
    const char *start = (const char *)arena;
    REQUIRE(mapping_has_flag(start, "hg"), "no huge page was asked for");
    require_purge(pm_arena_bit(9), pm_arena_bit(8), true);
    REQUIRE(mapping_has_flag(start, "hg"), "broken up for nothing");
    require_purge(pm_arena_bit(9), pm_arena_bit(9), true);
    REQUIRE(mapping_has_flag(start, "nh") && mapping_has_flag(start + PM_REGION_ALIGNMENT - 1, "nh"), "still huge");
    REQUIRE(mapping_has_flag(start + PM_REGION_ALIGNMENT, "hg"), "the next huge page is broken up, too");
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
            require_purge(free_pools & all, dirty_pools & all, i % 2);
        }
        require_purge(all, all, false);
        require_purge(all & ~pm_arena_bit(63), all, false);
    }
}
