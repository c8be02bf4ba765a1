/* SPDX-License-Identifier: MIT
 *
 * The life of the process and of its threads: start-up, which heap a thread gets and what becomes of it, fork, exit.
 * Layer 3: uses heap.h and everything below.
 *
 * A heap is owned by a thread, or parked: its thread has exited, its magazines are empty (in a forked child they hold
 * what a lost thread had at hand, and they hold something when the thread exited during a fork), and a thread that
 * starts takes it over, the one parked last first. Heaps are never destroyed. What other threads free into a parked
 * heap goes to its pools as ever, and its empty arenas return to the region. When no heap is parked, a new thread
 * makes its first requests without one: it gets block by block from the first heap's pools.
 *
 * Neither a request nor the exit of a thread waits for a fork (lock.h): a thread that needs a heap meanwhile does
 * without for now, and one that leaves its heap puts it on a list, from which the fork parks it at its end.
 *
 * A child that is forked while another thread starts the library starts it again. The start begins with the handlers
 * of fork, so that what it has done so far is whole in the child.
 *
 * When dlclose takes the code away, which happens to plugins that contain libpoolmalloc_api.a, threads that exit later
 * are not called back. Not covered: a thread that exits in the very moment of the dlclose.
 */
#ifndef PM_PROCESS_H
#define PM_PROCESS_H

#include "heap.h"

/* Starts the library, once. False for a request that the start itself makes. */
bool pm_process_start(void);

/* The calling thread's heap, made or taken over if it has none yet; the library is started if need be. NULL when it
 * cannot have one: it has given its own back already (allocating in a key destructor), or there is no memory or no
 * region. */
struct pm_heap *pm_process_heap(void);

/* As that, for one block of a pool. NULL for the first requests of a thread, too, if no heap is parked. */
struct pm_heap *pm_process_heap_for_block(void);

/* All heaps there ever were, newest first, linked by next. */
struct pm_heap *pm_process_newest_heap(void);
size_t pm_process_parked_count(void);

/* Where the first of them is found, for those who read without the lock: a heap is whole before it is on the list, and
 * never leaves it. */
extern struct pm_heap *const *const pm_process_heaps;

#endif
