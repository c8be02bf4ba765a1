/* SPDX-License-Identifier: MIT
 *
 * region.h: the memory of arenas. What a returned arena keeps, what purge gives back (region_balance.c has what goes by
 * itself), and what is given up when the program runs out of memory: decommit. region_limit.c has what is given up when
 * it runs out of addresses.
 */
#include "region.h"

#include "keep.h"
#include "os.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

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
