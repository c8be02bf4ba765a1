/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include "compiler.h"
#include "os.h"

void
pm_arena_init(struct pm_arena *arena, struct pm_heap *heap, bool dirty)
{
    *arena = (struct pm_arena){
        .free_pools = PM_ARENA_ALL_POOLS,
        .dirty_pools = dirty ? PM_ARENA_ALL_POOLS : 0,
        .heap = heap,
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
        uint64_t starts = run_starts(arena->free_pools, count);
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

unsigned
pm_arena_purge(struct pm_arena *arena, bool aged_only)
{
    uint64_t bits = arena->free_pools & arena->dirty_pools & (aged_only ? arena->aged_pools : ~UINT64_C(0));
    unsigned page_pools = (unsigned)(pm_os_page_size() / PM_POOL_SIZE);
    if (PM_UNLIKELY(page_pools > 1))
        bits = whole_pages(bits, page_pools < PM_ARENA_POOLS ? page_pools : PM_ARENA_POOLS);
    arena->dirty_pools &= ~bits;
    arena->aged_pools = arena->free_pools & arena->dirty_pools;
    unsigned purged = (unsigned)__builtin_popcountll(bits);
    while (bits != 0) {
        struct pm_run run = pm_first_run(bits);
        pm_os_discard(pm_arena_pool(arena, run.first), run.count * PM_POOL_SIZE);
        bits &= ~pm_run_bits(run);
    }
    return purged;
}
