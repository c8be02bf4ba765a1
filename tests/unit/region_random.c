/* SPDX-License-Identifier: MIT
 *
 * region.h: what is known of huge pages, in random sequences of taking, returning, breaking, purging and decommitting,
 * against a model that knows of every huge page whether it is in use as one and of every arena whether it is dirty;
 * what the kernel was told is read from the flags of the mappings. No memory is touched.
 */
#include "region.h"

#include "keep.h"
#include "options.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>

#define MIB ((size_t)1 << 20)

/* Arenas of a region of 128 MiB: 63 in the first chunk, 64 in each of the seven others; eight to a huge page. */
enum { ALL = 63 + 7 * 64, GROUP = 8, GROUPS = (ALL + 1) / GROUP, STEPS = 60000 };

/* Numbered by their place, the page map's being 0: arena i lies in group i / 8. */
static bool taken[ALL + 1], dirty[ALL + 1];
static bool in_use[GROUPS], broken[GROUPS]; /* as a huge page; it was */
static size_t taken_count, accessible; /* arenas; of chunks */
static struct pm_region_counts counts;

static uintptr_t
address(size_t i)
{
    return pm_region.base + i * PM_ARENA_SIZE;
}

static bool
all_free(size_t group)
{
    for (size_t i = group * GROUP; i < (group + 1) * GROUP; i++)
        if (taken[i])
            return false;
    return true;
}

static void
set_dirty(size_t group, bool value)
{
    for (size_t i = group * GROUP; i < (group + 1) * GROUP; i++)
        dirty[i] = !taken[i] && value;
}

static bool
any_dirty(size_t group)
{
    for (size_t i = group * GROUP; i < (group + 1) * GROUP; i++)
        if (dirty[i])
            return true;
    return false;
}

static void
take(bool large)
{
    size_t lowest = 1;
    while (lowest <= ALL && taken[lowest])
        lowest++;
    struct pm_region_arena arena = pm_region_take_arena(large);
    if (lowest > ALL) {
        REQUIRE(arena.address == 0, "an arena of a full region");
        return;
    }
    accessible += lowest >= accessible ? PM_CHUNK_ARENAS : 0;
    size_t group = lowest / GROUP;
    if (large && pm_options.huge_pages && all_free(group) && !any_dirty(group))
        in_use[group] = true;
    REQUIRE(arena.address == address(lowest), "not the lowest, %zu", lowest);
    REQUIRE(arena.dirty == dirty[lowest] && arena.huge == in_use[group], "arena %zu, dirty: %d, huge: %d", lowest,
            arena.dirty, arena.huge);
    taken[lowest] = true;
    taken_count++;
    if (!dirty[lowest] && in_use[group])
        set_dirty(group, true); /* its first touch makes the huge page resident */
    dirty[lowest] = false;
}

static void
give(size_t i)
{
    pm_region_return_arena(address(i));
    taken[i] = false;
    dirty[i] = true;
    taken_count--;
    if (broken[i / GROUP] && all_free(i / GROUP)) {
        broken[i / GROUP] = false;
        set_dirty(i / GROUP, false);
    }
}

static void
model_break(size_t group)
{
    broken[group] |= in_use[group];
    in_use[group] = false;
}

static void
break_up(size_t i)
{
    pm_region_break_huge_page(address(i));
    model_break(i / GROUP);
}

static void
purge(void)
{
    bool any = false;
    for (size_t group = 0; group < GROUPS; group++)
        if (any_dirty(group)) {
            if (!all_free(group))
                model_break(group);
            set_dirty(group, false);
            any = true;
        }
    REQUIRE(pm_region_purge() == any, "purged: %d", !any);
}

static void
decommit(void)
{
    bool any = false;
    for (; accessible > PM_CHUNK_ARENAS; accessible -= PM_CHUNK_ARENAS) {
        size_t first = (accessible - PM_CHUNK_ARENAS) / GROUP;
        bool whole = true;
        for (size_t group = first; group < accessible / GROUP; group++)
            whole &= all_free(group);
        if (!whole)
            break;
        any = true;
        for (size_t group = first; group < accessible / GROUP; group++) {
            in_use[group] = broken[group] = false;
            set_dirty(group, false);
        }
    }
    REQUIRE(taken_count != 0, "the test is about the chunks behind the first");
    REQUIRE(pm_region_decommit(0) == any, "decommitted: %d", !any);
}

static void
require_as_model(size_t step)
{
    size_t free_count = 0, dirty_count = 0;
    for (size_t i = 1; i < accessible; i++) {
        free_count += !taken[i];
        dirty_count += dirty[i];
    }
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == taken_count && counts.arenas_free == free_count && counts.arenas_dirty == dirty_count,
            "step %zu: %zu taken, %zu free, %zu dirty instead of %zu, %zu, %zu", step, counts.arenas,
            counts.arenas_free, counts.arenas_dirty, taken_count, free_count, dirty_count);
}

static void
require_flags(size_t step)
{
    static bool wanted[GROUPS], refused[GROUPS];
    huge_page_flags((const void *)pm_region.base, GROUPS, wanted, refused);
    /* The first byte is the page map's. */
    for (size_t group = 1; group < accessible / GROUP; group++)
        REQUIRE(wanted[group] == in_use[group] && refused[group] == !in_use[group],
                "step %zu: huge page %zu, the region uses it: %d, the kernel was asked: %d, told not to: %d", step,
                group, in_use[group], wanted[group], refused[group]);
}

static size_t
random_taken(struct random *random)
{
    size_t i = 1 + random_below(random, ALL);
    while (!taken[i])
        i = i % ALL + 1;
    return i;
}

/* Now more are taken, now more returned; the arenas that are broken up are those that their heap purges. */
static void
random_sequence(void)
{
    struct random random = {test_seed("region_random")};
    size_t breaks = 0, restored = 0;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region(128 * MIB);
    taken[0] = true; /* the page map's */
    for (size_t i = 0; i < 150; i++)
        take(random_below(&random, 4) != 0);
    for (size_t step = 0; step < STEPS; step++) {
        bool rising = step / 3000 % 2 == 0;
        if (random_below(&random, 100) < (rising ? 60 : 40)) {
            take(random_below(&random, 4) != 0);
        } else if (taken_count > 20) {
            size_t i = random_taken(&random), group = i / GROUP;
            bool was_broken = broken[group];
            give(i);
            restored += was_broken && !broken[group];
        }
        if (random_below(&random, 40) == 0) {
            size_t i = random_taken(&random);
            breaks += in_use[i / GROUP];
            break_up(i);
        }
        if (random_below(&random, 400) == 0)
            purge();
        if (random_below(&random, 400) == 0)
            decommit();
        require_as_model(step);
        if (step % 3000 == 2999 || step % 1000 == 500)
            require_flags(step);
    }
    REQUIRE(!pm_options.huge_pages || (breaks > 50 && restored > 50), "%zu broken up, %zu restored: hardly a test",
            breaks, restored);
}

Test(region_random, huge_pages_against_the_model)
{
    pm_options.huge_pages = 1;
    random_sequence();
}

Test(region_random, without_huge_pages)
{
    pm_options.huge_pages = 0;
    random_sequence();
    REQUIRE(mappings_with_flag("hg") == 0, "%zu mappings ask for huge pages", mappings_with_flag("hg"));
}
