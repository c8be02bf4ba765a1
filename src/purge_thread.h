/* SPDX-License-Identifier: MIT
 *
 * The purge thread, which there is only with POOLMALLOC_PURGE_THREAD=1. Without it limits fall when the program calls
 * malloc or free, so that one that goes idle after waves keeps what the last wave needed. The thread lets them fall in
 * its place, every 110 ms, and sleeps once there is nothing left that time would give back. Layer 3: uses purge.h.
 *
 * It starts with the library, and again in each forked child; it blocks all signals, allocates nothing and is never
 * waited for.
 */
#ifndef PM_PURGE_THREAD_H
#define PM_PURGE_THREAD_H

/* The program is active: wakes the thread if it sleeps. Called once a period. */
void pm_purge_thread_stir(void);

#endif
