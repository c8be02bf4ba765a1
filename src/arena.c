/* SPDX-License-Identifier: MIT */
#include "arena.h"

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

/* A mask of `count` bits from `first` on. */
static uint64_t
mask(unsigned first, unsigned count)
{
    return (~UINT64_C(0) >> (64 - count)) << first;
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
        arena->free_pools &= ~mask(*first, count);
        return count;
    }
    return 0;
}

void
pm_arena_unreserve(struct pm_arena *arena, unsigned first, unsigned count)
{
    arena->free_pools |= mask(first, count);
}

unsigned
pm_arena_purge(struct pm_arena *arena)
{
    uint64_t bits = arena->free_pools & arena->dirty_pools;
    arena->dirty_pools &= ~bits;
    unsigned purged = (unsigned)__builtin_popcountll(bits);
    while (bits != 0) {
        unsigned first = (unsigned)__builtin_ctzll(bits);
        uint64_t rest = ~(bits >> first);
        unsigned count = rest != 0 ? (unsigned)__builtin_ctzll(rest) : 64;
        pm_os_discard(pm_arena_pool(arena, first), count * PM_POOL_SIZE);
        bits &= ~mask(first, count);
    }
    return purged;
}
