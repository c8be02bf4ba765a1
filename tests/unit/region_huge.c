/* SPDX-License-Identifier: MIT
 *
 * region.h: huge pages. For whom the kernel is asked for them and where; in which order they are given back, whole
 * ones before parts; what of it the kernel is told; and how many mappings that takes. region_random.c has the model.
 */
#include "region.h"

#include "arena.h"
#include "keep.h"
#include "options.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* In a region of 64 MiB: 63 arenas in the first chunk, 64 in each other; the page map leaves 7 of the first group of
 * 8. */
enum { FIRST_HUGE = 7, FIRST_CHUNK = 63, ALL = 63 + 3 * 64, GROUP = 8 };

static uintptr_t arenas[ALL];
static struct pm_region_arena said[ALL];
static struct pm_region_counts counts;

static size_t
take_all(size_t most, bool large)
{
    size_t count = 0;
    while (count < most && (said[count] = pm_region_take_arena(large)).address != 0) {
        arenas[count] = said[count].address;
        count++;
    }
    return count;
}

/* All arenas of a region of 64 MiB are in use by large heaps; nothing is given back by itself. */
static void
start(void)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    REQUIRE(take_all(ALL, true) == ALL, "not so many arenas");
}

static void
give(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        pm_region_return_arena(arenas[i]);
    pm_region_counts(&counts);
}

static bool
kernel_was_asked(size_t i)
{
    const void *at = (const void *)arenas[i];
    bool asked = mapping_has_flag(at, "hg");
    REQUIRE(mapping_has_flag(at, "nh") == !asked, "arena %zu: neither asked for nor refused", i);
    return asked;
}

/* ---- Where ---- */

/* Large heaps get huge pages, each as a whole, but not where the page map lies. */
Test(region_huge, for_large_heaps, .init = start)
{
    for (size_t i = 0; i < ALL; i++)
        REQUIRE(said[i].huge == (i >= FIRST_HUGE), "arena %zu, huge: %d", i, said[i].huge);
    for (size_t i = 0; i < ALL; i += 4)
        REQUIRE(kernel_was_asked(i) == said[i].huge, "arena %zu, the kernel was asked: %d", i, !said[i].huge);
    /* The first arena of a huge page that is taken makes it resident: the others are dirty. */
    for (size_t i = 0; i < ALL; i++)
        REQUIRE(said[i].dirty == (i >= FIRST_HUGE && (i - FIRST_HUGE) % GROUP != 0), "arena %zu, dirty: %d", i,
                said[i].dirty);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0, "%zu dirty", counts.arenas_dirty);
}

Test(region_huge, none_when_the_options_say_so)
{
    pm_options.huge_pages = 0;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    REQUIRE(take_all(ALL, true) == ALL, "not so many arenas");
    for (size_t i = 0; i < ALL; i++)
        REQUIRE(!said[i].huge && !said[i].dirty, "arena %zu", i);
    give(100, ALL);
    REQUIRE(pm_region_purge(), "nothing was purged");
    REQUIRE(mappings_with_flag("hg") == 0, "%zu mappings ask for huge pages", mappings_with_flag("hg"));
}

/* Where the page map lies there is none, also in the smallest region. */
Test(region_huge, none_beside_the_page_map)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(16 * MIB);
    REQUIRE(take_all(ALL, true) == FIRST_CHUNK && arenas[0] == pm_region.base + PM_ARENA_SIZE, "63 behind the map");
    for (size_t i = 0; i < FIRST_CHUNK; i++)
        REQUIRE(said[i].huge == (i >= FIRST_HUGE) && kernel_was_asked(i) == said[i].huge, "arena %zu", i);
    give(0, FIRST_CHUNK);
    REQUIRE(pm_region_purge() && !kernel_was_asked(0), "asked for huge pages over the page map");
    struct pm_region_arena again = pm_region_take_arena(true);
    REQUIRE(again.address == arenas[0] && !again.huge, "not the lowest, or huge");
}

/* A small heap never makes a huge page, whatever it takes and returns, and whoever had the arena before. */
Test(region_huge, none_for_small_heaps)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    for (int round = 0; round < 3; round++) {
        REQUIRE(take_all(ALL, false) == ALL, "not so many arenas");
        for (size_t i = 0; i < ALL; i++)
            REQUIRE(!said[i].huge && said[i].dirty == (round == 1), "round %d, arena %zu", round, i);
        for (size_t i = 0; i < ALL; i++)
            pm_region_break_huge_page(arenas[i]);
        give(0, ALL);
        REQUIRE(round == 0 || pm_region_purge(), "nothing was purged");
        REQUIRE(mappings_with_flag("hg") == 0, "%zu mappings ask for huge pages", mappings_with_flag("hg"));
    }
}

/* One arena of the group taken by a small heap, or dirty, is enough: it has small pages already. */
Test(region_huge, none_where_small_pages_are)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    for (size_t i = 0; i < FIRST_HUGE + 1; i++)
        arenas[i] = pm_region_take_arena(false).address;
    for (size_t i = 1; i < GROUP; i++)
        REQUIRE(!pm_region_take_arena(true).huge, "arena %zu beside one of small pages", i);
    REQUIRE(mappings_with_flag("hg") == 0, "%zu mappings ask", mappings_with_flag("hg"));
    for (size_t i = 0; i < GROUP; i++)
        pm_region_return_arena(arenas[FIRST_HUGE] + i * PM_ARENA_SIZE);
    struct pm_region_arena again = pm_region_take_arena(true);
    REQUIRE(again.dirty && !again.huge, "dirty: %d, huge: %d", again.dirty, again.huge);
    pm_region_return_arena(again.address);
    REQUIRE(pm_region_purge(), "nothing was purged");
    again = pm_region_take_arena(true);
    REQUIRE(again.address == arenas[FIRST_HUGE] && !again.dirty && again.huge, "dirty: %d, huge: %d", again.dirty,
            again.huge);
    /* The huge page is there now: small heaps get the rest of it, and are told. */
    again = pm_region_take_arena(false);
    REQUIRE(again.dirty && again.huge, "dirty: %d, huge: %d", again.dirty, again.huge);
}

/* ---- In which order they are given back ---- */

/* A huge page that is free as a whole goes before parts of a higher one; parts stay while they are less than one. */
Test(region_huge, whole_ones_before_parts, .init = start)
{
    size_t low = FIRST_HUGE + GROUP, high = FIRST_HUGE + 10 * GROUP;
    give(low, low + GROUP);
    give(high, high + 3);
    REQUIRE(counts.arenas_dirty == GROUP + 3, "%zu dirty", counts.arenas_dirty);
    pm_options.purge = PM_PURGE_BALANCED;
    pm_region_age(test_now);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 3, "%zu dirty: the parts, and nothing else, are kept", counts.arenas_dirty);
    REQUIRE(kernel_was_asked(low) && kernel_was_asked(high), "a huge page was broken up");
    REQUIRE(!pm_region_take_arena(true).dirty && pm_region_take_arena(true).dirty, "the free huge page holds memory");
}

/* Parts that come to more than one huge page: the highest are broken up. */
Test(region_huge, parts_when_they_are_too_many, .init = start)
{
    pm_options.purge = PM_PURGE_BALANCED;
    for (size_t group = 0; group < GROUP + 1; group++)
        give(FIRST_HUGE + group * GROUP, FIRST_HUGE + group * GROUP + 1);
    REQUIRE(counts.arenas_dirty == GROUP + 1, "%zu dirty, the limit allows %d", counts.arenas_dirty, GROUP + 1);
    for (size_t group = 0; group < GROUP + 1; group++)
        REQUIRE(kernel_was_asked(FIRST_HUGE + group * GROUP), "huge page %zu is broken up", group);
    give(FIRST_HUGE + 12 * GROUP, FIRST_HUGE + 12 * GROUP + 1);
    /* Limit 9 arenas, target 7.9: the highest, and the two after it. */
    REQUIRE(counts.arenas_dirty == 7, "%zu dirty", counts.arenas_dirty);
    for (size_t group = 0; group < 16; group++) {
        bool broken = group == 12 || group == 8 || group == 7;
        REQUIRE(kernel_was_asked(FIRST_HUGE + group * GROUP) == !broken, "huge page %zu", group);
    }
    /* The rest of a broken one is of small pages, and comes back as such. */
    pm_region_return_arena(arenas[FIRST_HUGE + 12 * GROUP + 5]);
    for (size_t i = 0; i < 7; i++)
        REQUIRE(pm_region_take_arena(true).huge, "part %zu", i);
    for (size_t i = 0; i < 4; i++)
        REQUIRE(!pm_region_take_arena(true).huge, "small part %zu", i);
}

/* As soon as the last arena of a broken one is free it is without memory, and of small pages, in the kernel's eyes
 * too. */
static void
break_and_return(size_t first)
{
    memset((void *)arenas[first], 7, PM_REGION_ALIGNMENT);
    pm_region_break_huge_page(arenas[first + 3]);
    for (size_t i = first; i < first + GROUP; i++)
        REQUIRE(!kernel_was_asked(i), "arena %zu of the broken one", i);
    REQUIRE(kernel_was_asked(first - 1) && kernel_was_asked(first + GROUP), "the neighbours");
    REQUIRE(resident_pages((void *)arenas[first], PM_REGION_ALIGNMENT) == 512, "arenas in use lost memory");
    give(first, first + GROUP - 1);
    REQUIRE(counts.arenas_dirty == GROUP - 1, "%zu dirty", counts.arenas_dirty);
    give(first + GROUP - 1, first + GROUP);
    REQUIRE(counts.arenas_dirty == 0, "%zu dirty", counts.arenas_dirty);
    REQUIRE(resident_pages((void *)arenas[first], PM_REGION_ALIGNMENT) == 0, "it holds memory");
    REQUIRE(!mapping_has_flag((void *)arenas[first], "hg"), "it is a huge page before anybody wants one");
}

Test(region_huge, broken_ones_come_back_when_they_are_free, .init = start)
{
    size_t first = FIRST_HUGE + 4 * GROUP;
    break_and_return(first);
    struct pm_region_arena again = pm_region_take_arena(true);
    REQUIRE(again.address == arenas[first] && again.huge && !again.dirty, "huge: %d, dirty: %d", again.huge,
            again.dirty);
    REQUIRE(kernel_was_asked(first) && *(char *)(again.address + 5000) == 0, "small pages, or old contents");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == GROUP - 1, "%zu dirty with it", counts.arenas_dirty);
}

/* The kernel may not make a huge page of them unasked: one block would keep two megabytes. */
Test(region_huge, broken_ones_serve_small_heaps_with_small_pages, .init = start)
{
    size_t first = FIRST_HUGE + 4 * GROUP;
    break_and_return(first);
    struct pm_region_arena again = pm_region_take_arena(false);
    REQUIRE(again.address == arenas[first] && !again.huge && !again.dirty, "huge: %d, dirty: %d", again.huge,
            again.dirty);
    *(char *)again.address = 7;
    REQUIRE(resident_pages((void *)again.address, PM_REGION_ALIGNMENT) == 1, "one write made %zu pages resident",
            resident_pages((void *)again.address, PM_REGION_ALIGNMENT));
    REQUIRE(!kernel_was_asked(first), "asked for a huge page");
}

/* Breaking what is none does nothing, and no mapping is split for it. */
Test(region_huge, breaking_small_pages_does_nothing, .init = start)
{
    size_t before = mappings_with_flag("rd");
    pm_region_break_huge_page(arenas[0]);
    pm_region_break_huge_page(arenas[FIRST_HUGE - 1]);
    REQUIRE(mappings_with_flag("rd") == before, "%zu mappings instead of %zu", mappings_with_flag("rd"), before);
    size_t first = FIRST_HUGE + 2 * GROUP;
    pm_region_break_huge_page(arenas[first]);
    pm_region_break_huge_page(arenas[first + 1]);
    size_t broken = mappings_with_flag("rd");
    pm_region_break_huge_page(arenas[first + 7]);
    REQUIRE(mappings_with_flag("rd") == broken && broken <= before + 2, "%zu mappings instead of %zu",
            mappings_with_flag("rd"), broken);
}

/* Parts that are free in a huge page that is in use hold memory, and lose it; those in use do not. */
Test(region_huge, purge_takes_parts_as_well, .init = start)
{
    size_t first = FIRST_HUGE + 2 * GROUP;
    memset((void *)arenas[first], 7, PM_REGION_ALIGNMENT);
    give(first + 1, first + 3);
    give(first + 6, first + 7);
    REQUIRE(pm_region_purge() && !pm_region_purge(), "once");
    for (size_t i = first; i < first + GROUP; i++) {
        bool gone = i == first + 1 || i == first + 2 || i == first + 6;
        REQUIRE(resident_pages((void *)arenas[i], PM_ARENA_SIZE) == (gone ? 0 : 64), "arena %zu", i);
        REQUIRE(*(char *)arenas[i] == (gone ? 0 : 7), "the contents of arena %zu", i);
        REQUIRE(!kernel_was_asked(i), "arena %zu: the kernel may fill the holes again", i);
    }
    for (size_t i = 0; i < 3; i++) {
        struct pm_region_arena again = pm_region_take_arena(true);
        REQUIRE(!again.huge && !again.dirty, "huge: %d, dirty: %d", again.huge, again.dirty);
    }
}

/* All arenas of a huge page get memory when the first is touched. One that is taken after the page was broken up has
 * that memory, though nobody wrote to it: its heap has to know, or never gives it back. */
Test(region_huge, an_arena_of_a_broken_one_knows_what_memory_it_has)
{
    struct pm_region_arena first;
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    do
        first = pm_region_take_arena(true);
    while (!first.huge);
    struct pm_arena *arena = (struct pm_arena *)first.address;
    memset(arena, 0, PM_POOL_SIZE);
    struct pm_arena *second = (struct pm_arena *)(first.address + PM_ARENA_SIZE);
    size_t held = resident_pages(second, PM_ARENA_SIZE);
    if (held != PM_ARENA_POOLS)
        return; /* the machine has no huge pages to give */
    pm_region_break_huge_page(first.address);
    struct pm_region_arena taken = pm_region_take_arena(true);
    REQUIRE(taken.address == (uintptr_t)second, "another arena");
    held = resident_pages(second, PM_ARENA_SIZE);
    pm_arena_init(second, NULL, taken.dirty, taken.huge);
    unsigned known = 1 + (unsigned)__builtin_popcountll(second->dirty_pools);
    REQUIRE(known >= held, "the kernel holds memory for %zu pools, the arena knows of %u", held, known);
}

/* ---- Out of use, and back ---- */

Test(region_huge, decommit_and_again, .init = start)
{
    pm_region_break_huge_page(arenas[FIRST_CHUNK + 70]);
    give(FIRST_CHUNK, ALL);
    REQUIRE(pm_region_decommit(0) && mappings_with_flag("hg") == 1, "%zu mappings, the first chunk's is one",
            mappings_with_flag("hg"));
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_free == 0 && counts.arenas_dirty == 0, "%zu free, %zu dirty", counts.arenas_free,
            counts.arenas_dirty);
    REQUIRE(strcmp(mapping_protection((void *)arenas[FIRST_CHUNK]), "---p") == 0, "still accessible");
    for (size_t i = FIRST_CHUNK; i < ALL; i++) {
        struct pm_region_arena again = pm_region_take_arena(true);
        REQUIRE(again.address == arenas[i] && again.huge, "arena %zu, huge: %d", i, again.huge);
        REQUIRE(again.dirty == ((i - FIRST_CHUNK) % GROUP != 0), "arena %zu, dirty: %d", i, again.dirty);
    }
    REQUIRE(kernel_was_asked(FIRST_CHUNK) && kernel_was_asked(ALL - 1), "not as before");
}

/* Small heaps take the chunks again: nothing reminds of what they were. */
Test(region_huge, decommit_and_small_again, .init = start)
{
    give(0, ALL);
    REQUIRE(pm_region_decommit(0), "nothing was given up");
    REQUIRE(take_all(ALL, false) == ALL, "not so many arenas");
    for (size_t i = 0; i < ALL; i++)
        REQUIRE(!said[i].huge && !said[i].dirty, "arena %zu", i);
    REQUIRE(mappings_with_flag("hg") == 0, "%zu mappings ask", mappings_with_flag("hg"));
}

/* ---- Mappings ---- */

static size_t
region_mappings(void)
{
    unsigned long from, to;
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps != NULL, "/proc/self/maps");
    for (char line[512]; fgets(line, sizeof line, maps) != NULL;)
        count += sscanf(line, "%lx-%lx", &from, &to) == 2 && from >= pm_region.base &&
                 to <= pm_region.base + pm_region.size;
    fclose(maps);
    return count;
}

enum { LEAVE = 34000, PAGES = 40000 }; /* without a bound it would be more mappings than a program may have */

static uintptr_t pages[PAGES];

/* The first arenas of groups that are taken as a whole by a large heap. */
static struct pm_region_arena
take_group(void)
{
    struct pm_region_arena first;
    do
        first = pm_region_take_arena(true);
    while (first.address != 0 && first.address % PM_REGION_ALIGNMENT != 0);
    REQUIRE(first.address != 0, "no arena");
    for (size_t k = 1; k < GROUP; k++) {
        struct pm_region_arena next = pm_region_take_arena(true);
        REQUIRE(next.address == first.address + k * PM_ARENA_SIZE && next.huge == first.huge, "arena %zu", k);
    }
    return first;
}

static void
give_group(uintptr_t first)
{
    for (size_t k = 0; k < GROUP; k++)
        pm_region_return_arena(first + k * PM_ARENA_SIZE);
}

/* A program of 80 GiB, every second of whose huge pages is broken up: the kernel is asked for no more of them than
 * leave it mappings for its own. */
Test(region_huge, broken_ones_take_a_bounded_number_of_mappings)
{
    size_t asked = 0, last = 0;
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(96 * GIB);
    for (size_t i = 0; i < PAGES; i++) {
        struct pm_region_arena first = take_group();
        pages[i] = first.address;
        asked += first.huge;
        last = first.huge ? i : last;
        if (first.huge && i % 2 == 0)
            pm_region_break_huge_page(first.address);
    }
    REQUIRE(last > 16000, "no huge page after the %zuth", last);
    size_t broken = region_mappings();
    REQUIRE(broken > 2000 && broken < LEAVE, "%zu mappings, %zu pages were asked for", broken, asked);
    for (size_t i = 0; i < PAGES; i++)
        pm_region_break_huge_page(pages[i]);
    REQUIRE(region_mappings() <= 8, "%zu mappings with all broken up", region_mappings());
    /* There is room for as many as before. */
    for (size_t i = 0; i < 4000; i++)
        give_group(pages[i]);
    for (size_t i = 0; i < 4000; i++)
        REQUIRE(take_group().huge, "page %zu is not huge again", i);
}

/* Pages of which only some come back: those are of small pages as the others, and need no mapping of their own. */
Test(region_huge, restored_ones_take_few_mappings)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(16 * GIB);
    for (size_t i = 0; i < 4000; i++) {
        struct pm_region_arena first = take_group();
        REQUIRE(first.huge, "page %zu is not huge", i);
        pages[i] = first.address;
        pm_region_break_huge_page(first.address);
    }
    size_t broken = region_mappings();
    REQUIRE(broken <= 8, "%zu mappings with all broken up", broken);
    for (size_t i = 0; i < 4000; i += 2)
        give_group(pages[i]);
    REQUIRE(region_mappings() <= broken + 8, "%zu mappings after 2000 are whole again, %zu before", region_mappings(),
            broken);
}

/* One that is purged as a whole and taken anew counts once, however often. */
Test(region_huge, the_same_one_again_and_again)
{
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(64 * MIB);
    for (size_t i = 0; i < 20000; i++) {
        struct pm_region_arena first = take_group();
        REQUIRE(first.huge, "time %zu", i);
        give_group(first.address);
        pm_region_purge();
    }
    REQUIRE(take_group().huge && take_group().huge, "the region no longer asks for huge pages");
}
