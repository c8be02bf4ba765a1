/* SPDX-License-Identifier: MIT
 *
 * A magazine: the free blocks of one size class that a thread has at hand, a stack of addresses. Only its thread touches
 * it; what other threads may see of it (a forked child, the statistics) is valid at every instant: an entry is written
 * before it is counted. Layer 3: uses geometry.h and compiler.h.
 *
 * The word below the first entry is NULL, so that "empty" shows in the entry that malloc loads anyway. An empty magazine
 * can be full as well: one of capacity 0 sends every malloc and every free to the slow path. That is how a thread without
 * a heap and the checking mode work, without a branch on the fast path.
 *
 * Magazines are numbered: 1..64 hold blocks of the size class of that number; those behind hold blocks of the system
 * allocator in steps of 16 bytes, up to PM_CACHED_MAX. 0 stays empty.
 */
#ifndef PM_MAGAZINE_H
#define PM_MAGAZINE_H

#include <stdatomic.h>

#include "compiler.h"
#include "geometry.h"

/* Blocks of the system allocator up to this size are kept in magazines (bench/README.md has the measurement). */
#define PM_CACHED_MAX ((size_t)1024)
#define PM_SYSTEM_STEP ((size_t)16)

/* A block of `size` bytes, a multiple of 16 above 512, belongs to magazine 32 + size / 16. */
#define PM_SYSTEM_MAGAZINE_BIAS (PM_CLASS_LAST + 1 - (PM_SMALL_MAX / PM_SYSTEM_STEP + 1))               /* 32 */
#define PM_MAGAZINE_COUNT ((unsigned)(PM_SYSTEM_MAGAZINE_BIAS + PM_CACHED_MAX / PM_SYSTEM_STEP + 1)) /* 97 */
#define PM_GRANULE_COUNT ((unsigned)(PM_CACHED_MAX / PM_GRANULE + 1))                                 /* 129 */

_Static_assert(PM_MAGAZINE_COUNT <= 256, "a magazine's number fits a byte");

/* How many entries: 8 KiB of blocks, 16 to 128 of them. A magazine begins with the least, since most threads use most
 * classes little, and gets its full size when it runs empty or full again. */
#define PM_MAGAZINE_BYTES ((size_t)8192)
#define PM_MAGAZINE_MIN 16u
#define PM_MAGAZINE_MAX 128u

/* A thread's first refill of a class takes this many blocks, each later one twice as many, up to half the capacity: a
 * thread that lives for a hundred requests is not to carry thousands of blocks to and fro. */
#define PM_BATCH_MIN 4u

struct pm_magazine {
    void **top;   /* behind the last entry */
    void **limit; /* where top is when the magazine is full */
    void **base;  /* the first entry; base[-1] is NULL */
    uint32_t capacity;
    uint32_t batch; /* how many the next refill takes */
};

_Static_assert(sizeof(struct pm_magazine) == 32, "finding a magazine is a shift by 5");

/* The magazine of a request of malloc: `granules` is its size in steps of 8, rounded up. */
static inline unsigned
pm_magazine_of_granules(size_t granules, size_t alignment)
{
    size_t size = granules << PM_GRANULE_SHIFT;
    if (size <= PM_SMALL_MAX)
        return pm_class_of_malloc(size, alignment);
    return (unsigned)(PM_SYSTEM_MAGAZINE_BIAS + (size + PM_SYSTEM_STEP - 1) / PM_SYSTEM_STEP);
}

static inline size_t
pm_magazine_block_size(unsigned number)
{
    return number <= PM_CLASS_LAST ? pm_class_size(number) : (number - PM_SYSTEM_MAGAZINE_BIAS) * PM_SYSTEM_STEP;
}

/* The full capacity of a magazine. */
static inline unsigned
pm_magazine_capacity(unsigned number)
{
    if (number == 0)
        return 0;
    size_t entries = PM_MAGAZINE_BYTES / pm_magazine_block_size(number);
    return entries < PM_MAGAZINE_MIN ? PM_MAGAZINE_MIN : entries > PM_MAGAZINE_MAX ? PM_MAGAZINE_MAX : (unsigned)entries;
}

static inline unsigned
pm_magazine_count(const struct pm_magazine *magazine)
{
    return (unsigned)(magazine->top - magazine->base);
}

/* NULL when the magazine is empty. */
PM_INLINE void *
pm_magazine_pop(struct pm_magazine *magazine)
{
    void **top = magazine->top;
    void *block = top[-1];
    if (PM_LIKELY(block != NULL))
        magazine->top = top - 1;
    return block;
}

/* False when the magazine is full. */
PM_INLINE _Bool
pm_magazine_push(struct pm_magazine *magazine, void *block)
{
    void **top = magazine->top;
    if (PM_UNLIKELY(top == magazine->limit))
        return 0;
    *top = block;
    /* A forked child takes over the magazines of the threads it lost: the entry comes before its count. */
    atomic_signal_fence(memory_order_release);
    magazine->top = top + 1;
    return 1;
}

#endif
