/* SPDX-License-Identifier: MIT
 *
 * A pool: one page of blocks of one size class, described by 64 bytes in its arena's first page. Its free blocks are
 * bits; nothing is ever written into the blocks, so that neither an overflow within the arena nor a use after free can
 * reach the allocator's state, and a wrong pointer is recognised by its bit. (What is written past the last block of
 * an arena does reach it: the descriptors of the next one.) Nothing here locks: the caller holds the lock of the
 * heap that owns the pool. Layer 2: uses arena.h and region.h.
 */
#ifndef PM_POOL_H
#define PM_POOL_H

#include "arena.h"
#include "compiler.h"
#include "report.h"

struct pm_pool {
    struct pm_pool *next, *previous; /* on the list of its class while it has free blocks (heap.h) */
    uint64_t map[PM_POOL_MAP_WORDS]; /* bit i: block i is free; class 1 has its map elsewhere */
    uint32_t reciprocal;             /* of its class */
    uint16_t free_count;
    uint16_t block_count;
    uint8_t class;
};

_Static_assert(sizeof(struct pm_pool) <= PM_DESCRIPTOR_SIZE, "a pool has one descriptor");

/* Descriptors are numbered as their pools are. */
static inline struct pm_pool *
pm_pool_at(const void *address)
{
    uintptr_t index = ((uintptr_t)address >> PM_POOL_SHIFT) % PM_ARENA_POOLS;
    return (struct pm_pool *)(pm_arena_of(address) + index * PM_DESCRIPTOR_SIZE);
}

static inline unsigned
pm_pool_index(const struct pm_pool *pool)
{
    return (unsigned)(((uintptr_t)pool % PM_POOL_SIZE) / PM_DESCRIPTOR_SIZE);
}

static inline char *
pm_pool_blocks(const struct pm_pool *pool)
{
    return pm_arena_pool(pm_arena_at(pool), pm_pool_index(pool));
}

/* A pool of class 1 needs the wide maps of its arena, which pm_pool_assign cannot make: the caller sees to it that
 * arena->wide_maps is set. */
struct pm_pool *pm_pool_assign(struct pm_arena *arena, unsigned index, unsigned class);

/* All blocks are free: ends the assignment. The pool is then reserved: in no state that a search could find. */
void pm_pool_unassign(struct pm_pool *pool);

/* The page for the wide maps of an arena, at a reserved pool. */
void pm_pool_assign_wide_maps(struct pm_arena *arena, unsigned index);

/* Takes up to `wanted` free blocks, the lowest addresses first, and stores them downwards from end[-1], so that the
 * lowest ends up last. Returns how many. */
unsigned pm_pool_take(struct pm_pool *pool, void **end, unsigned wanted);

/* The map of free blocks. */
static inline uint64_t *
pm_pool_map(const struct pm_pool *pool)
{
    if (PM_LIKELY(pool->class != PM_CLASS_WIDE))
        return (uint64_t *)pool->map;
    struct pm_arena *arena = pm_arena_at(pool);
    return (uint64_t *)pm_arena_pool(arena, arena->wide_maps) + pm_pool_index(pool) * PM_WIDE_MAP_WORDS;
}

/* pm_pool_check looks at the bit of a block in use without the lock, while other bits of the word change. */
static inline void
pm_pool_write_word(uint64_t *word, uint64_t bits)
{
    __atomic_store_n(word, bits, __ATOMIC_RELAXED);
}

/* Makes the blocks at the front of a batch free again that lie in this pool, which the first one does; returns how
 * many. Stops at one that cannot be, and says why. Inline: each block that leaves a magazine passes through here. */
static inline unsigned
pm_pool_return(struct pm_pool *pool, void *const *blocks, unsigned count, enum pm_fault *fault)
{
    uintptr_t page = pm_pool_of(blocks[0]);
    uint32_t reciprocal = pool->reciprocal;
    unsigned block_count = pool->block_count;
    size_t size = pm_class_size(pool->class);
    uint64_t *map = pm_pool_map(pool);
    unsigned returned = 0;
    for (; returned < count && pm_pool_of(blocks[returned]) == page; returned++) {
        size_t offset = (uintptr_t)blocks[returned] - page;
        unsigned index = pm_block_index(reciprocal, offset);
        if (PM_UNLIKELY(index * size != offset || index >= block_count)) {
            *fault = index >= block_count ? PM_FAULT_REMAINDER : PM_FAULT_INSIDE;
            break;
        }
        uint64_t bits = map[index / 64], bit = UINT64_C(1) << (index % 64);
        if (PM_UNLIKELY(bits & bit)) {
            *fault = PM_FAULT_FREE;
            break;
        }
        pm_pool_write_word(&map[index / 64], bits | bit);
    }
    pool->free_count = (uint16_t)(pool->free_count + returned);
    return returned;
}

/* What is wrong with `pointer`, an address in the region, as a block in use; a block that waits in a magazine
 * passes. */
enum pm_fault pm_pool_check(const void *pointer);

/* The block that `pointer` lies in. Its page has a class. */
void *pm_pool_block_of(const void *pointer);

/* Ends the program: `call` was given a block with a fault. */
_Noreturn void pm_pool_report_fault(const char *call, const void *block, enum pm_fault fault, enum pm_found found);

/* Ends the program if the descriptor breaks an invariant. */
void pm_pool_verify(const struct pm_pool *pool);

#endif
