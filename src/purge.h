/* SPDX-License-Identifier: MIT
 *
 * Giving memory back to the kernel: what happens with time. The unit is a free pool, a page; what lies together goes in
 * one call. Layer 3: uses process.h, heap.h, region.h.
 *
 * There is no timer for it, no thread unless the user asks for one (purge_thread.h), and it does not wait for one:
 * heaps and region give back what is above their limits (keep.h) when it becomes free. These limits fall with time,
 * and blocks in magazines keep their pages. So the slow paths look at a coarse clock. When a period is over, the
 * thread that sees it first goes over all heaps, its own or not, idle or parked, and over the region; and each thread
 * that allocates empties its magazines once. What a thread keeps that has stopped allocating are the pages of the
 * blocks in its magazines, which no other thread can reach: none where it had no heap (process.h), 20 to 40 KiB after
 * 1,000 blocks of 16 to 255 bytes freed in random order, 3 MiB after 100,000, and never more than 512 blocks of a
 * size.
 */
#ifndef PM_PURGE_H
#define PM_PURGE_H

#include "heap.h"

/* Milliseconds. */
#define PM_PURGE_PERIOD 100u

/* Called from the slow paths of `heap`, the calling thread's, without a lock. */
void pm_purge_tick(struct pm_heap *heap);

/* Lets all limits fall. True while more time would give back more. */
bool pm_purge_age(uint64_t now);

/* Gives back all that is free now, the calling thread's magazines flushed first; true when there was any. */
bool pm_purge_now(void);

#endif
