/* SPDX-License-Identifier: MIT
 *
 * purge.h and heap.h: a program that is large enough for huge pages. What it frees goes back in parts when that is
 * worth a huge page, all of it when it is asked for, also in a forked child; and what was broken up is of small pages
 * until a large heap takes it anew.
 */
#include "purge.h"

#include "options.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A class with eight blocks to a pool; more pools than the arenas have before the pools ask for huge pages, and the
 * chunks that are in use by then. */
enum { CLASS = 64, PER_POOL = 8, ARENA = 63, POOLS = 260 * ARENA };

static void *blocks[POOLS * PER_POOL];
static struct pm_heap *own;
static size_t huge_first, huge_end; /* the pools in arenas of huge pages, of which each eight fill one */

static bool
is_huge(size_t pool)
{
    return pm_arena_at(blocks[pool * PER_POOL])->huge;
}

static void
free_pool(size_t pool)
{
    void *batch[PER_POOL];
    memcpy(batch, blocks + pool * PER_POOL, sizeof batch);
    pm_heap_return(batch, PER_POOL, PM_FOUND_LATER);
}

static const char *
address(size_t pool)
{
    return blocks[pool * PER_POOL];
}

static size_t
resident_of(size_t first, size_t end)
{
    size_t count = 0;
    for (size_t pool = first; pool < end; pool++)
        count += page_is_resident(address(pool));
    return count;
}

/* All pools of the arenas are in use. */
static void
start(void)
{
    own = pm_process_heap();
    for (size_t i = 0; i < POOLS * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(own, CLASS);
        if (i % PER_POOL == 0)
            memset(blocks[i], 7, 512);
    }
    for (size_t pool = 0; pool < POOLS; pool += ARENA)
        if (is_huge(pool) && (uintptr_t)pm_arena_at(address(pool)) % PM_REGION_ALIGNMENT == 0) {
            huge_first = pool;
            break;
        }
    REQUIRE(huge_first != 0, "no huge page");
    huge_end = huge_first + 8 * ARENA;
    while (huge_end + 8 * ARENA <= POOLS && is_huge(huge_end))
        huge_end += 8 * ARENA;
    REQUIRE(huge_end - huge_first >= 16 * ARENA, "%zu pools in huge pages", huge_end - huge_first);
    REQUIRE((huge_first - 1) / ARENA + 1 >= 96, "huge pages from %zu arenas on", huge_first / ARENA);
    REQUIRE(mapping_has_flag(address(huge_first), "hg") && !mapping_has_flag(address(0), "hg"), "what was asked for");
    require_lists(own);
}

/* Seven pools of an arena are not worth a huge page, the eighth makes them. */
Test(purge_huge, an_eighth_of_an_arena_is_worth_it, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    size_t first = huge_first + 3 * ARENA + 20;
    for (size_t pool = first; pool < first + 7; pool++)
        free_pool(pool);
    REQUIRE(resident_of(first, first + 7) == 7 && is_huge(first), "broken up for seven pools");
    REQUIRE(pm_arena_at(address(first))->list == PM_ARENAS_CLEAN, "list %u", pm_arena_at(address(first))->list);
    require_lists(own);
    free_pool(first + 7);
    REQUIRE(resident_of(first, first + 8) == 0 && !is_huge(first), "not given back");
    REQUIRE(mapping_has_flag(address(first), "nh"), "the kernel may make a huge page of it again");
    REQUIRE(mapping_has_flag(address(first - 3 * ARENA), "nh"), "the other arenas of the huge page");
    REQUIRE(mapping_has_flag(address(first + 8 * ARENA), "hg"), "the next huge page");
    require_lists(own);
    /* From then on single pages are worth it there. */
    free_pool(first + 8);
    REQUIRE(resident_of(first + 8, first + 9) == 0, "a page of a broken huge page stays");
    require_lists(own);
}

static void
free_a_few_everywhere(void)
{
    for (size_t pool = 0; pool < POOLS; pool++)
        if (pool % ARENA < 5)
            free_pool(pool);
}

static void
require_a_few_gone(void)
{
    for (size_t pool = 0; pool < POOLS; pool++) {
        bool gone = pool % ARENA < 5;
        REQUIRE(page_is_resident(address(pool)) != gone, "pool %zu", pool);
        REQUIRE(gone || address(pool)[0] == 7, "pool %zu lost its contents", pool);
    }
    REQUIRE(!mapping_has_flag(address(huge_first), "hg"), "a huge page of which parts were given back");
    require_lists(own);
}

/* However little it is: what was asked for is all of it. */
Test(purge_huge, now_breaks_up_huge_pages, .init = start)
{
    free_a_few_everywhere();
    REQUIRE(resident_of(huge_first, huge_first + 5) == 5, "given back already");
    REQUIRE(pm_purge_now(), "nothing was given back");
    require_a_few_gone();
    REQUIRE(!pm_purge_now(), "purged twice");
    for (size_t pool = 0; pool < POOLS; pool++)
        if (pool % ARENA >= 5)
            free_pool(pool);
    struct pm_region_counts counts;
    pm_purge_now();
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0 && counts.arenas_dirty == 0, "%zu arenas, %zu dirty", counts.arenas,
            counts.arenas_dirty);
    REQUIRE(resident_of(0, POOLS) == 0, "%zu are left", resident_of(0, POOLS));
    for (size_t pool = huge_first; pool < huge_end; pool += ARENA)
        REQUIRE(!mapping_has_flag(address(pool), "hg"), "pool %zu: a huge page that nobody has asked for", pool);
}

/* The same under the name that programs know. */
Test(purge_huge, trim, .init = start)
{
    free_a_few_everywhere();
    REQUIRE(pm_trim(0) == 1, "nothing was given back");
    require_a_few_gone();
}

Test(purge_huge, in_a_forked_child, .init = start)
{
    int status;
    free_a_few_everywhere();
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        REQUIRE(pm_purge_now(), "nothing was given back");
        require_a_few_gone();
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
    REQUIRE(resident_of(huge_first, huge_first + 5) == 5 && is_huge(huge_first), "the child gave back the parent's");
    REQUIRE(mapping_has_flag(address(huge_first), "hg"), "the parent's huge page");
    REQUIRE(pm_purge_now(), "nothing was given back");
    require_a_few_gone();
}

/* Everything is freed: no more stays than the region's limit. */
Test(purge_huge, all_of_it_goes_by_itself, .init = start)
{
    struct pm_region_counts counts;
    for (size_t pool = 0; pool < POOLS; pool++)
        free_pool(pool);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0 && counts.arenas_dirty <= 1, "%zu arenas, %zu dirty", counts.arenas,
            counts.arenas_dirty);
    REQUIRE(resident_of(0, POOLS) <= ARENA, "%zu are resident", resident_of(0, POOLS));
    require_lists(own);
}
