/* SPDX-License-Identifier: MIT
 *
 * region.h: the memory of arenas. What a returned arena keeps, what purge gives back (region_balance.c has what goes by
 * itself), and what is given up when the program runs out of memory or addresses: decommit and shrink.
 */
#include "region.h"

#include "keep.h"
#include "os.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define MARK 0x5a

enum { MOST = 256 };

static uintptr_t arenas[MOST];
static struct pm_region_counts counts;

/* As pm_region_take_arena, for tests in which no arena lies in a huge page. */
static uintptr_t
take_arena(bool *dirty)
{
    struct pm_region_arena arena = pm_region_take_arena(false);
    REQUIRE(!arena.huge, "a huge page nobody asked for");
    *dirty = arena.dirty;
    return arena.address;
}

/* Takes arenas[0..count) and writes to all of their pages. */
static void
take(size_t count)
{
    bool dirty;
    pm_options.purge = PM_PURGE_NEVER;
    for (size_t i = 0; i < count; i++) {
        arenas[i] = take_arena(&dirty);
        REQUIRE(arenas[i] != 0, "no arena %zu", i);
        memset((void *)arenas[i], MARK, PM_ARENA_SIZE);
    }
}

static void
give(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        pm_region_return_arena(arenas[i]);
    pm_region_counts(&counts);
}

static size_t
resident(size_t first, size_t end)
{
    size_t pages = 0;
    for (size_t i = first; i < end; i++)
        pages += resident_pages((void *)arenas[i], PM_ARENA_SIZE);
    return pages / (PM_ARENA_SIZE / pm_os_page_size());
}

/* ---- Dirty arenas ---- */

Test(region_memory, free_arenas_keep_their_memory_and_say_so)
{
    bool dirty;
    fresh_region(16 * MIB);
    take(20);
    give(0, 20);
    REQUIRE(counts.arenas_free == 63 && counts.arenas_dirty == 20, "%zu free, %zu dirty", counts.arenas_free,
            counts.arenas_dirty);
    REQUIRE(resident(0, 20) == 20, "%zu hold memory", resident(0, 20));
    for (size_t i = 0; i < 25; i++) {
        uintptr_t arena = take_arena(&dirty);
        REQUIRE(i >= 20 || arena == arenas[i], "arena %zu", i);
        REQUIRE(dirty == (i < 20), "arena %zu, dirty: %d", i, dirty);
        REQUIRE(*(unsigned char *)(arena + 5000) == (dirty ? MARK : 0), "the contents of arena %zu", i);
    }
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0, "%zu are dirty and taken", counts.arenas_dirty);
}

/* Free ones alone and side by side, in two chunks. */
Test(region_memory, purge_gives_all_free_arenas_back)
{
    bool dirty;
    fresh_region(64 * MIB);
    REQUIRE(!pm_region_purge(), "purged a region that was not used");
    take(150);
    give(0, 2);
    give(60, 70);
    give(149, 150);
    REQUIRE(counts.arenas_dirty == 13 && resident(0, 150) == 150, "%zu dirty", counts.arenas_dirty);
    REQUIRE(pm_region_purge(), "nothing was purged");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0 && resident(0, 150) == 137, "%zu dirty, %zu hold memory", counts.arenas_dirty,
            resident(0, 150));
    REQUIRE(resident(2, 60) == 58 && resident(70, 149) == 79, "an arena in use lost its memory");
    REQUIRE(!pm_region_purge(), "purged twice");
    REQUIRE(take_arena(&dirty) == arenas[0] && !dirty, "a purged arena is dirty");
}

/* ---- Decommit ---- */

Test(region_memory, decommit_takes_free_chunks_from_the_end)
{
    bool dirty;
    fresh_region(64 * MIB);
    take(63 + 64 + 10); /* in the first, all of the second, some of the third chunk */
    size_t committed = 3 * (PM_CHUNK_SIZE + PM_POOL_SIZE) - PM_ARENA_SIZE;
    give(62, 63);
    give(63 + 1, 63 + 64 + 10);
    REQUIRE(counts.committed_bytes == committed, "%zu committed", counts.committed_bytes);
    REQUIRE(pm_region_decommit(0), "nothing was given up");
    pm_region_counts(&counts);
    /* The third chunk; in the second one arena is in use. */
    REQUIRE(counts.committed_bytes == committed - PM_CHUNK_SIZE - PM_POOL_SIZE, "%zu", counts.committed_bytes);
    REQUIRE(counts.arenas_free == 1 + 63, "%zu free", counts.arenas_free);
    REQUIRE(mapping_protection((void *)arenas[127])[0] == '-', "the third chunk is accessible");
    REQUIRE(mapping_protection((void *)arenas[126])[0] == 'r', "the second chunk is not accessible");
    REQUIRE(*(unsigned char *)arenas[63] == MARK, "an arena in use lost its memory");
    REQUIRE(!pm_region_decommit(0), "there was more to give up");

    give(63, 64);
    REQUIRE(pm_region_decommit(0), "the second chunk stays");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_free == 1 && counts.arenas == 62, "%zu free, %zu taken", counts.arenas_free, counts.arenas);
    REQUIRE(counts.arenas_dirty <= 1, "%zu dirty arenas", counts.arenas_dirty);
    REQUIRE(!pm_region_arena_is_taken(arenas[63]) && pm_region_next_arena(arenas[62]) == 0, "what is left");

    /* All of it can be had again. */
    for (size_t i = 62; i < 63 + 64 + 10; i++) {
        REQUIRE(take_arena(&dirty) == arenas[i], "arena %zu", i);
        REQUIRE(i == 62 || (!dirty && *(unsigned char *)arenas[i] == 0), "arena %zu has old contents", i);
        REQUIRE(*pm_region_page((void *)arenas[i]) == 0, "the page map of arena %zu", i);
    }
    pm_region_counts(&counts);
    REQUIRE(counts.committed_bytes == committed, "%zu committed", counts.committed_bytes);
}

Test(region_memory, decommit_only_when_it_can_be_enough)
{
    fresh_region(64 * MIB);
    take(63 + 64);
    give(63, 63 + 64);
    REQUIRE(!pm_region_decommit(65 * PM_ARENA_SIZE), "64 free arenas are no 65");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_free == 64, "%zu free", counts.arenas_free);
    REQUIRE(pm_region_decommit(64 * PM_ARENA_SIZE), "64 free arenas are 64");
}

Test(region_memory, decommit_of_everything)
{
    fresh_region(64 * MIB);
    take(100);
    give(0, 100);
    REQUIRE(pm_region_decommit(0), "nothing was given up");
    pm_region_counts(&counts);
    REQUIRE(counts.committed_bytes == 0 && counts.arenas_free == 0 && counts.arenas_dirty == 0, "%zu, %zu, %zu",
            counts.committed_bytes, counts.arenas_free, counts.arenas_dirty);
    REQUIRE(*pm_region_page((void *)arenas[0]) == 0, "the page map is gone");
    take(100);
    REQUIRE(resident(0, 100) == 100, "the region cannot be used again");
}

/* ---- Shrink ---- */

/* As far as shrink can tell; nothing in the test comes near it. */
static void
limit_address_space(void)
{
    struct rlimit limit = {RLIM_INFINITY - 1, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
}

/* What was asked for, or half of what is not in use if that is more; from the end of the region. */
static void
require_shrunk(size_t wanted, size_t used)
{
    size_t before = pm_region.size, unused = before - used;
    size_t least = wanted > unused / 2 ? wanted : unused / 2;
    REQUIRE(pm_region_shrink(wanted), "not shrunk by %zu of %zu", wanted, unused);
    pm_region_counts(&counts);
    REQUIRE(pm_region.size >= used && before - pm_region.size >= least && before - pm_region.size < least + 2 * MIB,
            "by %zu bytes of %zu, %zu wanted", before - pm_region.size, unused, wanted);
    REQUIRE(counts.reserved_bytes == pm_region.size, "%zu bytes", counts.reserved_bytes);
    const char *end = (const char *)pm_region.base + pm_region.size;
    REQUIRE(!pm_region_contains(end), "what was given up still counts as ours");
    REQUIRE(strcmp(mapping_protection(end), "---p") != 0, "what was given up is still reserved");
    REQUIRE(pm_region.size == 0 || mapping_protection(end - 1)[0] != '\0', "more was given up");
}

Test(region_memory, shrink_gives_up_what_is_not_in_use)
{
    bool dirty;
    size_t used = 16 * MIB;
    fresh_region(256 * MIB);
    take(63);
    REQUIRE(!pm_region_shrink(0) && pm_region.size == 256 * MIB, "shrunk without a limit");
    limit_address_space();
    REQUIRE(!pm_region_shrink(256 * MIB) && pm_region.size == 256 * MIB, "gave up what cannot be enough");
    require_shrunk(0, used);
    require_shrunk(100 * MIB, used);
    require_shrunk(3, used);
    while (pm_region.size > used)
        require_shrunk(1, used);
    REQUIRE(!pm_region_shrink(0) && pm_region.size == used, "shrunk by what is in use");

    REQUIRE(resident(0, 63) == 63, "an arena in use lost its memory");
    REQUIRE(take_arena(&dirty) == 0, "an arena behind the end");
    pm_region_return_arena(arenas[5]);
    REQUIRE(take_arena(&dirty) == arenas[5], "the rest of the region works no more");
    REQUIRE(pm_region_next_arena(arenas[62]) == arenas[62] && pm_region_next_arena(arenas[62] + PM_ARENA_SIZE) == 0,
            "the walk");
}

/* Chunks that are not in use yet can be used after their neighbours are gone. */
Test(region_memory, a_shrunk_region_goes_on_to_its_new_end)
{
    bool dirty;
    fresh_region(256 * MIB);
    take(1);
    limit_address_space();
    require_shrunk(190 * MIB, 16 * MIB);
    size_t left = (pm_region.size - PM_ARENA_SIZE) / PM_ARENA_SIZE;
    for (size_t i = 1; i < left; i++) {
        uintptr_t arena = take_arena(&dirty);
        REQUIRE(arena == arenas[0] + i * PM_ARENA_SIZE, "arena %zu", i);
        memset((void *)arena, MARK, PM_ARENA_SIZE);
    }
    REQUIRE(take_arena(&dirty) == 0, "an arena behind the end");
}

Test(region_memory, shrink_of_an_unused_region_leaves_none)
{
    bool dirty;
    fresh_region(256 * MIB);
    limit_address_space();
    while (pm_region.size > 0)
        require_shrunk(0, 0);
    REQUIRE(!pm_region_contains((void *)pm_region.base) && take_arena(&dirty) == 0, "no region");
    REQUIRE(!pm_region_shrink(0), "shrunk to less than nothing");
}

/* A region that ends within a chunk has no rest when its last chunk is in use. */
Test(region_memory, shrink_of_a_full_region)
{
    fresh_region(18 * MIB);
    take(64);
    limit_address_space();
    REQUIRE(!pm_region_shrink(0) && pm_region.size == 18 * MIB, "%zu bytes", pm_region.size);
}
