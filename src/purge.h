/* SPDX-License-Identifier: MIT
 *
 * Giving memory back to the kernel: when, and how much. The unit is a free pool, a page; what lies together goes in one
 * call. Layer 3: uses process.h, heap.h, region.h.
 *
 * There is no thread and no timer for it. The slow paths look at a coarse clock; when a period is over, the thread that
 * sees it first goes over all heaps, its own or not, idle or parked, and purges what was free at the end of the period
 * before and has not been used since: a page that a program frees and needs again within a period never leaves it. While
 * the program goes on taking slow paths no page stays free for more than two; one that stops keeps what it freed last
 * until it goes on. Each thread that allocates also empties its magazines once a period, so that the
 * blocks in them do not keep pages; what a thread that has stopped allocating keeps is bounded by the capacity of its
 * magazines.
 */
#ifndef PM_PURGE_H
#define PM_PURGE_H

#include "heap.h"

/* POOLMALLOC_PURGE, in the order of its values in options.c. */
enum pm_purge_policy { PM_PURGE_EAGER, PM_PURGE_BALANCED, PM_PURGE_NEVER };

/* Called from the slow paths of `heap`, the calling thread's, without a lock. */
void pm_purge_tick(struct pm_heap *heap);

/* Gives back all that is free now, the calling thread's magazines flushed first; true when there was any. */
bool pm_purge_now(void);

#endif
