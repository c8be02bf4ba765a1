/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include "compiler.h"
#include "os.h"
#include "region.h"

/* A huge page is broken up only for so many pools of an arena, an eighth of it. */
#define HUGE_MIN 8u

void
pm_arena_init(struct pm_arena *arena, struct pm_heap *heap, bool dirty, bool huge)
{
    /* The first touch of a huge page makes all of it resident, also what has never been an arena. */
    bool all_dirty = huge || (dirty && arena->heap == NULL);
    *arena = (struct pm_arena){
        .free_pools = PM_ARENA_ALL_POOLS,
        .dirty_pools = all_dirty ? PM_ARENA_ALL_POOLS : dirty ? arena->dirty_pools : 0,
        .heap = heap,
        .huge = huge,
    };
}

/* The bits where a run of `count` set bits begins. Each step doubles the length that is known to be set. */
static uint64_t
run_starts(uint64_t bits, unsigned count)
{
    unsigned length = 1;
    while (length < count) {
        unsigned step = count - length < length ? count - length : length;
        bits &= bits >> step;
        length += step;
    }
    return bits;
}

unsigned
pm_arena_reserve(struct pm_arena *arena, unsigned wanted, unsigned *first)
{
    for (unsigned count = wanted; count > 0; count /= 2) {
        uint64_t starts = run_starts(arena->free_pools & arena->dirty_pools, count);
        if (starts == 0)
            starts = run_starts(arena->free_pools, count);
        if (starts == 0)
            continue;
        *first = (unsigned)__builtin_ctzll(starts);
        arena->free_pools &= ~pm_run_bits((struct pm_run){*first, count});
        return count;
    }
    return 0;
}

void
pm_arena_unreserve(struct pm_arena *arena, unsigned first, unsigned count)
{
    arena->free_pools |= pm_run_bits((struct pm_run){first, count});
}

/* Those of the pools that make up whole pages of a machine whose pages are larger than a pool. */
static uint64_t
whole_pages(uint64_t pools, unsigned page_pools)
{
    uint64_t firsts = 0;
    for (unsigned first = 0; first < PM_ARENA_POOLS; first += page_pools)
        firsts |= pm_arena_bit(first);
    return (run_starts(pools, page_pools) & firsts) * pm_run_bits((struct pm_run){0, page_pools});
}

static unsigned
pools_of_page(void)
{
    unsigned pools = (unsigned)(pm_os_page_size() / PM_POOL_SIZE);
    return pools < PM_ARENA_POOLS ? pools : PM_ARENA_POOLS;
}

static uint64_t
purgeable_pools(const struct pm_arena *arena)
{
    uint64_t bits = arena->free_pools & arena->dirty_pools;
    unsigned page_pools = pools_of_page();
    return PM_UNLIKELY(page_pools > 1) ? whole_pages(bits, page_pools) : bits;
}

unsigned
pm_arena_purgeable(const struct pm_arena *arena)
{
    unsigned count = (unsigned)__builtin_popcountll(purgeable_pools(arena));
    return arena->huge && count < HUGE_MIN ? 0 : count;
}

/* Returns the pools of a run whose memory is gone. One locked page is no reason to keep the others. */
static uint64_t
discard(const struct pm_arena *arena, struct pm_run run, unsigned page_pools)
{
    uint64_t gone = 0;
    if (pm_os_discard(pm_arena_pool(arena, run.first), run.count * PM_POOL_SIZE))
        return pm_run_bits(run);
    if (run.count > page_pools)
        for (unsigned i = 0; i < run.count; i += page_pools)
            gone |= discard(arena, (struct pm_run){run.first + i, page_pools}, page_pools);
    return gone;
}

unsigned
pm_arena_purge(struct pm_arena *arena, bool *refused)
{
    uint64_t bits = purgeable_pools(arena), gone = 0;
    for (uint64_t left = bits; left != 0;) {
        struct pm_run run = pm_first_run(left);
        gone |= discard(arena, run, pools_of_page());
        left &= ~pm_run_bits(run);
    }
    *refused |= gone != bits;
    if (gone != 0 && arena->huge) {
        pm_region_break_huge_page((uintptr_t)arena);
        arena->huge = false;
    }
    arena->dirty_pools &= ~gone;
    return (unsigned)__builtin_popcountll(gone);
}
