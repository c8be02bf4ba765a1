/* SPDX-License-Identifier: MIT
 *
 * region.h under a limit on address space: what is not in use goes back to the kernel, all of it, the page map's part
 * too; then the region grows again, as far as the limit and other mappings let it; and at every moment it claims exactly
 * the addresses that it has.
 */
#include "region.h"

#include "os.h"
#include "support/check.h"
#include "support/measure.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define MARK 0x5a
#define PAUSE 100 /* in milliseconds, before it tries to grow again */

static struct pm_region_counts counts;

static void
limit_address_space(size_t limit)
{
    struct rlimit wanted = {limit, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &wanted) == 0, "setrlimit");
}

/* A limit that nothing in the test comes near. */
static void
limit_far_away(void)
{
    limit_address_space(RLIM_INFINITY - 1);
}

static uintptr_t
take(void)
{
    struct pm_region_arena arena = pm_region_take_arena(false);
    if (arena.address == 0)
        return 0;
    REQUIRE(pm_region_contains((void *)arena.address), "an arena outside the region");
    REQUIRE(pm_region_contains((void *)(arena.address + PM_ARENA_SIZE - 1)), "an arena at its end");
    REQUIRE(*(unsigned char *)arena.address == 0 && *pm_region_page((void *)arena.address) == 0, "old contents");
    memset((void *)arena.address, MARK, PM_POOL_SIZE);
    *pm_region_page((void *)arena.address) = MARK;
    return arena.address;
}

/* Takes all arenas there are, which must follow each other, the first one at `expected` unless that is 0. */
static size_t
take_all(uintptr_t expected)
{
    size_t count = 0;
    for (uintptr_t arena; (arena = take()) != 0; count++) {
        REQUIRE(expected == 0 || arena == expected, "arena %zu lies at %zx", count, (size_t)arena);
        expected = arena + PM_ARENA_SIZE;
    }
    return count;
}

static bool
is_mapped(uintptr_t address)
{
    return mapping_protection((void *)address)[0] != '\0';
}

/* Nothing is reserved but what lies below `used` bytes; the page map ends with the page for that. */
static void
require_only(size_t used)
{
    uintptr_t end = pm_region.base + used;
    pm_region_counts(&counts);
    REQUIRE(pm_region.size == used, "%zu bytes instead of %zu", pm_region.size, used);
    REQUIRE(!pm_region_contains((void *)end) && !is_mapped(end), "the end");
    uintptr_t map_end = pm_region.base + pm_round_up(used >> PM_POOL_SHIFT, pm_os_page_size());
    REQUIRE(counts.reserved_bytes == end - pm_region.arenas + map_end - pm_region.base, "%zu bytes reserved",
            counts.reserved_bytes);
    REQUIRE(map_end >= pm_region.arenas || !is_mapped(map_end), "the page map goes on");
    REQUIRE(!is_mapped(pm_region.arenas - 1), "the page map's end is there");
    for (uintptr_t at = pm_region.arenas; at < end; at += PM_POOL_SIZE)
        REQUIRE(*(volatile uint8_t *)pm_region_page((void *)at) != 1, "the page map can be read");
}

static void
map_at(uintptr_t address, size_t size)
{
    void *wanted = (void *)address;
    void *found = mmap(wanted, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(found == wanted, "%p instead of %p", found, wanted);
}

/* ---- Giving back ---- */

Test(region_limit, shrink_gives_back_what_is_not_in_use)
{
    fresh_region(256 * MIB);
    uintptr_t first = take();
    REQUIRE(!pm_region_shrink(0) && pm_region.size == 256 * MIB, "shrunk without a limit");
    limit_far_away();
    REQUIRE(!pm_region_shrink(241 * MIB) && pm_region.size == 256 * MIB, "gave back what cannot be enough");
    REQUIRE(pm_region_shrink(240 * MIB), "not shrunk");
    require_only(16 * MIB);
    REQUIRE(!pm_region_shrink(0), "shrunk by what is in use");
    REQUIRE(*(unsigned char *)first == MARK && *pm_region_page((void *)first) == MARK, "an arena in use");
}

Test(region_limit, an_unused_region_goes_as_a_whole)
{
    fresh_region(128 * GIB);
    uintptr_t first = pm_region.arenas;
    limit_far_away();
    REQUIRE(pm_region_shrink(0) && pm_region.granules == 0, "%zu granules are left", pm_region.granules);
    pm_region_counts(&counts);
    REQUIRE(counts.reserved_bytes == 0 && !is_mapped(pm_region.base) && !is_mapped(first), "%zu bytes",
            counts.reserved_bytes);
    REQUIRE(!pm_region_contains((void *)first) && !pm_region_shrink(0), "no region");
    REQUIRE(take() == first, "it cannot be used again");
    require_only(48 * MIB);
}

Test(region_limit, a_limit_is_obeyed_when_it_is_too_low_for_the_region)
{
    fresh_region(1 * GIB);
    take();
    pm_region_obey_limit();
    REQUIRE(pm_region.size == 1 * GIB, "without a limit %zu bytes are left", pm_region.size);
    limit_address_space(4 * GIB);
    pm_region_obey_limit();
    REQUIRE(pm_region.size == 1 * GIB, "under a limit that allows it %zu bytes are left", pm_region.size);
    if (!TEST_SANITIZED) {
        limit_address_space(4 * GIB - 1);
        pm_region_obey_limit();
        require_only(16 * MIB);
    }
}

/* A region that is accessible to its end has nothing to give. */
Test(region_limit, shrink_of_a_full_region)
{
    fresh_region(18 * MIB);
    REQUIRE(take_all(0) == 71, "not so many arenas");
    limit_far_away();
    REQUIRE(!pm_region_shrink(0) && pm_region.size == 18 * MIB, "%zu bytes", pm_region.size);
}

/* ---- Growing ---- */

/* To the same places, the last chunk's, which is smaller, too. */
Test(region_limit, it_grows_to_its_full_size)
{
    fresh_region(86 * MIB);
    uintptr_t first = take();
    limit_far_away();
    REQUIRE(pm_region_shrink(0), "not shrunk");
    for (size_t i = 1; i < 63; i++)
        take();
    require_only(16 * MIB);
    REQUIRE(take_all(first + 63 * PM_ARENA_SIZE) == 344 - 1 - 63, "it does not reach its end");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 343 && counts.arenas_free == 0 && pm_region.size == 86 * MIB, "%zu arenas", counts.arenas);
    for (size_t i = 0; i < 343; i++)
        REQUIRE(*(unsigned char *)(first + i * PM_ARENA_SIZE) == MARK, "arena %zu", i);
}

/* What was given up by decommit can be given back, and grows again. */
Test(region_limit, after_decommit)
{
    fresh_region(256 * MIB);
    uintptr_t first = take();
    for (size_t i = 1; i < 200; i++)
        take();
    for (size_t i = 1; i < 200; i++) {
        *pm_region_page((void *)(first + i * PM_ARENA_SIZE)) = 0;
        pm_region_return_arena(first + i * PM_ARENA_SIZE);
    }
    limit_far_away();
    REQUIRE(pm_region_decommit(0) && pm_region_shrink(0), "nothing was given up");
    require_only(16 * MIB);
    pm_region_purge();
    REQUIRE(take_all(first + PM_ARENA_SIZE) == 1024 - 2, "it does not reach its end");
}

/* What lies there now is somebody else's, and stays so; the region is full, until there is room again. */
Test(region_limit, other_mappings_are_in_the_way)
{
    fresh_region(256 * MIB);
    take();
    limit_far_away();
    REQUIRE(pm_region_shrink(0), "not shrunk");
    uintptr_t there = pm_region.base + 40 * MIB;
    map_at(there, 4096);
    REQUIRE(take_all(0) == 2 * 64 - 2, "it does not grow to the chunk of the mapping");
    REQUIRE(pm_region.size == 32 * MIB && !pm_region_contains((void *)(pm_region.base + 32 * MIB)), "the end");
    REQUIRE(!pm_region_contains((void *)there) && strcmp(mapping_protection((void *)there), "r--p") == 0, "the mapping");
    REQUIRE(take() == 0, "grown over the mapping");
    REQUIRE(munmap((void *)there, 4096) == 0, "munmap");
    REQUIRE(take() == 0, "tried again at once");
    test_now += PAUSE;
    REQUIRE(take() == pm_region.base + 32 * MIB, "it does not go on");
}

/* The page map's part that was given back lies between the page map and the arenas. */
Test(region_limit, other_mappings_in_the_page_map)
{
    fresh_region(8 * GIB);
    take();
    limit_far_away();
    REQUIRE(pm_region_shrink(0), "not shrunk");
    size_t used = pm_region.size;
    uintptr_t there = pm_region.base + pm_round_up(used >> PM_POOL_SHIFT, pm_os_page_size());
    map_at(there, 4096);
    map_at(pm_region.arenas - 4096, 4096);
    REQUIRE(!pm_region_contains((void *)there) && !pm_region_contains((void *)(pm_region.arenas - 4096)), "not ours");
    while (take() != 0)
        ;
    REQUIRE(pm_region.size == used, "grown without a page map");
    REQUIRE(munmap((void *)there, 4096) == 0, "munmap");
    test_now += PAUSE;
    REQUIRE(take() == pm_region.base + used, "it does not go on");
}

/* The limit ends the growth, whether the region is told of it or not, and not before that is necessary. */
static void
grow_under_a_limit(bool told)
{
    if (TEST_SANITIZED)
        return; /* whose shadow takes more than the limit */
    fresh_region(64 * GIB);
    take();
    size_t before = address_space_bytes() - 64 * GIB;
    limit_address_space(before + 200 * MIB);
    if (told)
        pm_region_obey_limit();
    size_t count = 1 + take_all(0);
    REQUIRE(count * PM_ARENA_SIZE >= 160 * MIB && count * PM_ARENA_SIZE <= 200 * MIB, "%zu arenas in 200 MiB", count);
    REQUIRE(address_space_bytes() <= before + 200 * MIB, "%zu bytes", address_space_bytes() - before);
    limit_address_space(before + 300 * MIB);
    if (told)
        pm_region_obey_limit();
    else
        test_now += PAUSE;
    count += take_all(0);
    REQUIRE(count * PM_ARENA_SIZE >= 260 * MIB && count * PM_ARENA_SIZE <= 300 * MIB, "%zu arenas in 300 MiB", count);
    limit_address_space(RLIM_INFINITY);
    test_now += PAUSE;
    for (size_t i = 0; i < 4000; i++)
        REQUIRE(take() != 0, "no arena %zu without a limit", i);
}

Test(region_limit, growth_counts_against_the_limit)
{
    grow_under_a_limit(true);
}

Test(region_limit, a_limit_from_outside)
{
    grow_under_a_limit(false);
}
