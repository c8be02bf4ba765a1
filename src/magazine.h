/* SPDX-License-Identifier: MIT
 *
 * A magazine: the free blocks of one size class that a thread has at hand, a stack of addresses. An empty one is
 * refilled from pools, a full one flushed to them, in batches. Only its thread touches it; what other threads may see
 * of it (a forked child, the statistics) is valid at every instant: an entry is written before it is counted. Only
 * `last` may be out of step, which a child mends. Layer 3: this header uses geometry.h and compiler.h, magazine.c
 * heap.h and system.h.
 *
 * The word below the first entry is NULL, so that "empty" shows in the last entry, which malloc loads anyway. An empty
 * magazine can be full as well: one of capacity 0 sends every malloc and every free to the slow path. That is how a
 * thread without a heap and the checking mode work, without a branch on the fast path.
 *
 * Magazines are numbered. 1..64 hold blocks of the size class of that number; 0 stays empty. Behind them are those for
 * blocks of the system allocator, up to PM_CACHED_MAX: in steps of 16 bytes up to 1024, then 16 steps to each doubling.
 *
 * A magazine is light as long as little has passed through it, except the main thread's. The blocks of a light
 * magazine come from the pools of the first heap, the main thread's, since a thread that only ever has a few kilobytes
 * would else need a page for each class that it uses; and the magazine stays small.
 */
#ifndef PM_MAGAZINE_H
#define PM_MAGAZINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "compiler.h"
#include "geometry.h"

/* Up to this size malloc finds the magazine in a table, by the size in granules. */
#define PM_TABLE_MAX ((size_t)1024)
#define PM_GRANULE_COUNT ((unsigned)(PM_TABLE_MAX / PM_GRANULE + 1)) /* 129 */

/* Blocks of the system allocator up to this size are kept in magazines: slots replaced at random by two threads, with
 * sizes of 16..8000 bytes, take a third of the time they take without (bench/README.md). */
#define PM_CACHED_MAX ((size_t)16384)
#define PM_CACHED_STEPS 16u /* to each doubling */

/* A size of (16 + j) << k bytes, for a j below 16, belongs to magazine 16 * k + j, if it is 1024 or more; one of 513 to
 * 1024 to magazine 32 + size / 16. At 1024 both say 96. */
#define PM_SYSTEM_BIAS 32u
#define PM_SYSTEM_STEP ((size_t)16)
#define PM_MAGAZINE_COUNT 161u

_Static_assert(PM_SYSTEM_BIAS + PM_SMALL_MAX / PM_SYSTEM_STEP == PM_CLASS_LAST, "they begin behind the size classes");
_Static_assert(PM_CACHED_MAX == (size_t)PM_CACHED_STEPS << 10 && PM_MAGAZINE_COUNT == 10 * PM_CACHED_STEPS + 1,
               "the last magazine is that of the largest size");
_Static_assert(PM_MAGAZINE_COUNT <= 256, "a magazine's number fits a byte");

/* How many entries: 8 KiB of blocks, 16 to 128 of them; 16 KiB, at least 2 of them, above 1024 bytes. A magazine
 * begins with a cache line of them, at least one, since most threads use most classes little, and when it runs full or
 * its refills want more it gets this size, or as much of it as it has earned. One that is flushed, and runs empty
 * later, and is flushed again, has turned: it carries the same blocks to and fro. With each turn it doubles, up to
 * four times the size. */
#define PM_MAGAZINE_BYTES ((size_t)8192)
#define PM_MAGAZINE_LARGE_BYTES ((size_t)16384)
#define PM_MAGAZINE_LARGE_MIN 2u
#define PM_MAGAZINE_MIN 16u
#define PM_MAGAZINE_MAX 128u
#define PM_MAGAZINE_DOUBLINGS 2u

/* A magazine is light until so many bytes of blocks have been refilled and flushed: four pools of them. Two hundred
 * threads that allocate 1,000 blocks each, free half and sleep take 51 KiB each; they took 181 when there was one limit
 * for all classes, 32 KiB. */
#define PM_MAGAZINE_LIGHT_MAX (4 * PM_POOL_SIZE)

/* Behind that it gets its full capacity when so many bytes have passed through it, half of it when it was half as
 * many, and so on: a thread may stop at any time, and each block that waits then can keep a page. Two hundred threads
 * that allocate 1,000 blocks each, free them in random order and sleep keep 22 KiB each; 57 if they get the full
 * capacity at once. With four times as many bytes it would be 19, but producers and consumers take 1.25 of the time. */
#define PM_MAGAZINE_MOVED_MAX (16 * PM_MAGAZINE_LIGHT_MAX)
#define PM_MAGAZINE_HALVINGS 4u

/* A thread's first refill of a class takes this many blocks, each later one twice as many, up to half the capacity: a
 * thread that lives for a hundred requests is not to carry thousands of blocks to and fro. */
#define PM_BATCH_MIN 4u
#define PM_BATCH_MAX 128u

struct pm_magazine {
    void *last;   /* top[-1], at hand without waiting for top */
    void **top;   /* behind the last entry */
    void **limit; /* where top is when the magazine is full */
    uint32_t moved; /* bytes of blocks that were refilled and flushed, until they are enough for all purposes */
    uint16_t capacity;
    uint8_t batch; /* how many the next refill takes */
    bool turned;   /* flushed since it was refilled */
};

_Static_assert(sizeof(struct pm_magazine) == 32, "finding a magazine is a shift by 5");

/* The magazine of system blocks that hold `size` bytes, more than 512: the next larger one, or, for a block of that
 * size that is to be put on a magazine, the next smaller one. */
static inline unsigned
pm_magazine_of_system(size_t size, _Bool larger)
{
    if (size <= PM_TABLE_MAX)
        return PM_SYSTEM_BIAS + (unsigned)((size + (larger ? PM_SYSTEM_STEP - 1 : 0)) / PM_SYSTEM_STEP);
    unsigned shift = 63 - 4 - (unsigned)__builtin_clzll(size); /* size >> shift is 16..31 */
    size_t steps = (size + (larger ? ((size_t)1 << shift) - 1 : 0)) >> shift; /* 16..32 */
    return PM_CACHED_STEPS * shift + (unsigned)steps - PM_CACHED_STEPS;
}

/* The magazine of a request of malloc in the table: `granules` is its size in steps of 8, rounded up. */
static inline unsigned
pm_magazine_of_granules(size_t granules, size_t alignment)
{
    size_t size = granules << PM_GRANULE_SHIFT;
    return size <= PM_SMALL_MAX ? pm_class_of_malloc(size, alignment) : pm_magazine_of_system(size, 1);
}

static inline size_t
pm_magazine_block_size(unsigned number)
{
    if (number <= PM_CLASS_LAST)
        return pm_class_size(number);
    if (number <= PM_SYSTEM_BIAS + PM_TABLE_MAX / PM_SYSTEM_STEP)
        return (number - PM_SYSTEM_BIAS) * PM_SYSTEM_STEP;
    return (size_t)(PM_CACHED_STEPS + number % PM_CACHED_STEPS) << (number / PM_CACHED_STEPS);
}

/* The capacity of a magazine that has not turned. */
static inline unsigned
pm_magazine_capacity(unsigned number)
{
    if (number == 0)
        return 0;
    size_t size = pm_magazine_block_size(number);
    if (size > PM_TABLE_MAX)
        return PM_MAGAZINE_LARGE_BYTES / size > PM_MAGAZINE_LARGE_MIN ? (unsigned)(PM_MAGAZINE_LARGE_BYTES / size)
                                                                      : PM_MAGAZINE_LARGE_MIN;
    size_t entries = PM_MAGAZINE_BYTES / size;
    if (entries < PM_MAGAZINE_MIN)
        return PM_MAGAZINE_MIN;
    return entries < PM_MAGAZINE_MAX ? (unsigned)entries : PM_MAGAZINE_MAX;
}

/* The first entry; base[-1] is NULL. */
static inline void **
pm_magazine_base(const struct pm_magazine *magazine)
{
    return magazine->limit - magazine->capacity;
}

/* The capacity that a magazine begins with: what fills a cache line, at least one. */
static inline unsigned
pm_magazine_first(unsigned number)
{
    size_t size = number != 0 ? pm_magazine_block_size(number) : PM_CACHE_LINE;
    return size < PM_CACHE_LINE ? (unsigned)(PM_CACHE_LINE / size) : 1;
}

/* The entries that all of a heap's magazines need: each begins small and grows to its size and beyond, each time with
 * its NULL in front. */
static inline unsigned
pm_magazine_slots(void)
{
    unsigned count = 0;
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        unsigned capacity = pm_magazine_capacity(number);
        count += capacity > pm_magazine_first(number) ? pm_magazine_first(number) + 1 : 0;
        for (unsigned halvings = 1; halvings <= PM_MAGAZINE_HALVINGS; halvings++)
            count += (capacity >> halvings) > pm_magazine_first(number) ? (capacity >> halvings) + 1 : 0;
        for (unsigned doublings = 0; doublings <= PM_MAGAZINE_DOUBLINGS; doublings++)
            count += (capacity << doublings) + 1;
    }
    return count;
}

static inline unsigned
pm_magazine_count(const struct pm_magazine *magazine)
{
    return (unsigned)(magazine->top - pm_magazine_base(magazine));
}

/* After its entries have changed otherwise than by a pop or a push. */
static inline void
pm_magazine_set_top(struct pm_magazine *magazine, void **top)
{
    magazine->top = top;
    magazine->last = top[-1];
}

/* NULL when the magazine is empty. */
PM_INLINE void *
pm_magazine_pop(struct pm_magazine *magazine)
{
    void *block = magazine->last;
    if (PM_LIKELY(block != NULL)) {
        void **top = magazine->top - 1;
        magazine->top = top;
        magazine->last = top[-1];
    }
    return block;
}

/* False when the magazine is full. */
PM_INLINE _Bool
pm_magazine_push(struct pm_magazine *magazine, void *block)
{
    void **top = magazine->top;
    if (PM_UNLIKELY(top == magazine->limit))
        return 0;
    magazine->last = block;
    *top = block;
    /* A forked child takes over the magazines of the threads it lost: the entry comes before its count. */
    atomic_signal_fence(memory_order_release);
    magazine->top = top + 1;
    return 1;
}

/* ---- The slow paths, of the heap's thread; no lock is held ---- */

struct pm_heap;

/* None of these waits for a fork (lock.h): while one holds the locks, magazines stay as they are. */

/* A block of the class, the magazine refilled on the way; NULL when no pool can be had. */
void *pm_magazine_refill(struct pm_heap *heap, unsigned class);

/* Frees a block whose magazine is full: makes room and puts it there. */
void pm_magazine_flush(struct pm_heap *heap, unsigned number, void *block);

/* A magazine of system blocks that has turned was found empty. */
void pm_magazine_missed(struct pm_heap *heap, unsigned number);

/* Empties all magazines of a heap, unless a fork is under way; false when nothing has left them. */
bool pm_magazine_flush_all(struct pm_heap *heap);

/* In a forked child, before a thread takes over a heap: the thread it lost may have been in the middle of a pop or a
 * push, where `last` is not top[-1]. */
void pm_magazine_mend_all(struct pm_heap *heap);

#endif
