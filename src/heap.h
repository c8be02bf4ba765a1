/* SPDX-License-Identifier: MIT
 *
 * A heap: a thread's magazines, and the arenas and pools behind them. Blocks move between the two in batches
 * (magazine.h). Layer 3: uses pool.h, arena.h, region.h, magazine.h.
 *
 * Who may touch what:
 *   magazines    the heap's thread alone; it changes more than one entry at a time only while it holds the lock of some
 *                heap, so that a fork, which holds all locks, finds every magazine whole
 *   the rest     whoever holds the heap's lock: its own thread to refill and flush, and any other thread to take or
 *                return a batch of blocks. One lock for a batch is the only synchronisation there is, and it makes no
 *                difference whether the owner runs, sleeps or has exited.
 *
 * A pool that is assigned to a class is on the class's list if and only if it has free blocks. The list is first in,
 * first out: a pool that has just got its first free block waits at the end, and has gathered more when its turn comes.
 * An arena with free pools is on one of two lists: dirty, most recently so first, if memory of its pools
 * can be given back, which is done from the list's other end; else clean, the fuller ones first.
 */
#ifndef PM_HEAP_H
#define PM_HEAP_H

#include <stdbool.h>

#include "keep.h"
#include "lock.h"
#include "magazine.h"
#include "pool.h"
#include "region.h"

struct pm_class_counts {
    uint64_t refilled, flushed, flushed_remote; /* blocks */
    uint64_t refills, flushes;                  /* batches */
};

/* Room for the first entries of every class; what is left of the page (below). */
#define PM_FIRST_SLOTS 192u

/* The pools of one class. */
struct pm_class_pools {
    struct pm_pool *first, *last;  /* pools with free blocks */
    struct pm_arena *run_arena;    /* the run: neighbouring pools reserved for the class and not used yet */
    uint8_t run_next, run_count;
    uint32_t pools;                /* assigned */
    uint64_t free_blocks;          /* in all of them */
    struct pm_class_counts counts;
};

enum pm_arena_list { PM_ARENAS_DIRTY, PM_ARENAS_CLEAN, PM_ARENAS_LISTS, PM_ARENAS_NO_LIST = PM_ARENAS_LISTS };

struct pm_arenas {
    struct pm_arena *first, *last;
};

enum pm_heap_state { PM_HEAP_OWNED, PM_HEAP_PARKED };

/* A thread that does little touches one page of it: the lock, its own few numbers, the first slots, and the magazines
 * of the size classes. The classes are those of the heap's own pools, which such a thread has none of. */
struct pm_heap {
    struct pm_class_pools classes[PM_CLASS_LAST + 1];
    /* To the end of a page. Not by alignment: copies of a heap (snapshot.h) lie anywhere. */
    char unused[2 * PM_POOL_SIZE - (PM_CLASS_LAST + 1) * sizeof(struct pm_class_pools)];

    _Alignas(PM_CACHE_LINE) struct pm_lock lock;
    enum pm_heap_state state;       /* these three: guarded by the registry's lock */
    struct pm_heap *next;           /* all heaps */
    struct pm_heap *next_parked;    /* last in, first out */
    struct pm_arenas arenas[PM_ARENAS_LISTS]; /* with free pools */
    struct pm_keep keep;            /* .dirty: the pools of the arenas on the dirty list that can be given back */
    size_t pools;                   /* assigned to the classes */
    unsigned first_slots_used, slots_used, slots_count;
    unsigned magazines_end;         /* no magazine from this one on has slots */

    /* The thread's own from here on. */
    _Alignas(PM_CACHE_LINE) uint64_t system_allocations, system_bytes; /* requests passed on */
    uint64_t flushed_at;     /* when all magazines were flushed last (purge.h) */
    unsigned owner;          /* the thread's number (lock.h); guarded by the registry's lock */
    /* The magazine for malloc, by the request's size in granules, in bytes from the first magazine. Compact mode is other
     * numbers in here. */
    uint16_t magazine_offset[PM_GRANULE_COUNT];
    /* The entries of the magazines, dealt out as magazines grow: these, and those at the end. */
    void *first_slots[PM_FIRST_SLOTS];
    _Alignas(sizeof(struct pm_magazine)) struct pm_magazine magazines[PM_MAGAZINE_COUNT];
    void *slots[];
};

_Static_assert(PM_MAGAZINE_COUNT * sizeof(struct pm_magazine) <= UINT16_MAX, "an offset of a magazine fits 16 bits");
_Static_assert(offsetof(struct pm_heap, lock) % PM_POOL_SIZE == 0, "the lock begins a page");
_Static_assert(offsetof(struct pm_heap, magazines) + (PM_CLASS_LAST + 1) * sizeof(struct pm_magazine) ==
                   offsetof(struct pm_heap, lock) + PM_POOL_SIZE,
               "what a thread that does little touches is one page");


/* The heap of the calling thread: pm_heap_none before it has one, pm_heap_late after it gave it back at its exit. */
extern PM_THREAD_LOCAL struct pm_heap *pm_heap_current;
extern struct pm_heap pm_heap_none, pm_heap_late;

/* A new heap from the kernel; NULL when there is no memory. */
struct pm_heap *pm_heap_create(void);

/* The first heap that was created, the main thread's as a rule; NULL before that. Threads without a heap use its
 * pools. */
struct pm_heap *pm_heap_first(void);

/* The heap that a block returns to; NULL when the page has no blocks. */
static inline struct pm_heap *
pm_heap_owner(const void *block)
{
    /* The byte comes first: a wrong pointer may point to where there is no arena. A block in use keeps its arena with
     * its heap. */
    return *pm_region_page(block) != 0 ? pm_arena_at(block)->heap : NULL;
}

/* ---- The heap's lock is held ---- */

/* Stores up to `wanted` blocks downwards from end[-1], the lowest address last; returns how many. */
unsigned pm_heap_take(struct pm_heap *heap, unsigned class, void **end, unsigned wanted);

/* Returns those of the blocks that lie in the heap's arenas and moves the others to the front; returns how many those
 * are. A faulty block ends the batch: it is then the first of the others. */
unsigned pm_heap_give(struct pm_heap *heap, void **blocks, unsigned count, enum pm_fault *fault);

/* ---- Called by any thread, no lock held ---- */

/* None of these waits for a fork (lock.h). While one holds the heap's lock, nothing is taken, dropped or purged. */

/* One block straight from the pools of a heap, for a thread that has none of its own. */
void *pm_heap_take_one(struct pm_heap *heap, unsigned class);

/* Returns blocks to their pools, whosever they are. The array is scratch space afterwards. Those that a fork stands in
 * the way of go on a list, linked through their first words. */
void pm_heap_return(void **blocks, unsigned count, enum pm_found found);

/* Returns what is on that list. At the end of a fork, and once a period: a block that the forking thread itself stood in
 * the way of, in a handler that interrupted it, is still there then. */
void pm_heap_return_deferred(void);

/* Gives up the runs of a heap: reserved pools that its classes have not used. */
void pm_heap_drop_runs(struct pm_heap *heap);

/* A period is over: gives the memory of free pools back to the kernel that is above the limit now (keep.h). True when
 * more periods may give back more. */
bool pm_heap_age(struct pm_heap *heap, uint64_t now);

/* Gives up the runs, and all of the memory of free pools back to the kernel; true when there was any. */
bool pm_heap_purge(struct pm_heap *heap);

/* Ends the program if the heap breaks an invariant. */
void pm_heap_verify(struct pm_heap *heap);

#endif
