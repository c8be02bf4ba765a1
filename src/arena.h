/* SPDX-License-Identifier: MIT
 *
 * An arena: 64 pools that belong to one heap. The first pool holds 64 descriptors of 64 bytes, the arena's own and
 * those of the other 63. Nothing here locks: the caller holds the lock of the arena's heap. Layer 2: uses region.h and
 * geometry.h.
 *
 * The 63 pools are, each of them, in one state:
 *   free       a bit in free_pools; its byte in the page map is 0; dirty_pools: whether the kernel holds memory for it
 *   reserved   no bit; part of a run that a size class of the heap has not used yet; its byte is 0
 *   assigned   no bit; it has blocks of a class (its byte says which), or the wide maps (its byte is 0)
 */
#ifndef PM_ARENA_H
#define PM_ARENA_H

#include <stdbool.h>

#include "geometry.h"

struct pm_heap;

struct pm_arena {
    uint64_t free_pools;
    uint64_t dirty_pools; /* pools that were used since the kernel last took their memory */
    struct pm_heap *heap;
    struct pm_arena *next, *previous; /* on one of the heap's lists of arenas with free pools (heap.h) */
    uint16_t assigned;                /* pools in that state */
    uint8_t wide_maps;                /* the pool that holds the wide maps, 0 while there is none */
    uint8_t wide_pools;               /* assigned pools of class 1 */
    uint8_t list;                     /* which of the lists: enum pm_arena_list */
    uint8_t purgeable;                /* pools that the heap counts as such, see pm_arena_purgeable */
    bool huge;                        /* may lie in a huge page */
};

_Static_assert(sizeof(struct pm_arena) <= PM_DESCRIPTOR_SIZE, "an arena has one descriptor");

static inline struct pm_arena *
pm_arena_at(const void *address)
{
    return (struct pm_arena *)pm_arena_of(address);
}

static inline char *
pm_arena_pool(const struct pm_arena *arena, unsigned index)
{
    return (char *)arena + index * PM_POOL_SIZE;
}

static inline uint64_t
pm_arena_bit(unsigned index)
{
    return UINT64_C(1) << index;
}

/* Every pool but the descriptors'. */
#define PM_ARENA_ALL_POOLS (~UINT64_C(1))

/* `dirty`: the arena comes as another heap left it, and the kernel may hold memory for its pools. */
void pm_arena_init(struct pm_arena *arena, struct pm_heap *heap, bool dirty, bool huge);

/* A reserved pool is assigned. */
static inline void
pm_arena_use(struct pm_arena *arena, unsigned index)
{
    arena->assigned++;
    arena->dirty_pools |= pm_arena_bit(index);
}

/* Reserves `wanted` neighbouring free pools, dirty ones if there are so many, the lowest there are, or half as many
 * until there are any; returns how many and stores the first one's index. 0 when no pool is free. */
unsigned pm_arena_reserve(struct pm_arena *arena, unsigned wanted, unsigned *first);

/* Reserved pools that were not used after all. */
void pm_arena_unreserve(struct pm_arena *arena, unsigned first, unsigned count);

/* How many pools are worth giving back. None of a huge page that would be broken up for less than an eighth of the
 * arena. */
unsigned pm_arena_purgeable(const struct pm_arena *arena);

/* Gives the memory of free pools back to the kernel, neighbours in one call, however few. What the kernel refuses to
 * take stays dirty, and `*refused` becomes true. Returns how many pools. */
unsigned pm_arena_purge(struct pm_arena *arena, bool *refused);

#endif
