/* SPDX-License-Identifier: MIT
 *
 * The lock of the slow paths: one word, 0 when it is free, else the number of the thread that holds it, with a bit when
 * others sleep and one when it is held for a fork (after Drepper, "Futexes are tricky"). Taking a free lock and giving
 * it back is one atomic operation and one exchange. Layer 1: uses os.h.
 *
 * Order: registry, then heaps (one at a time; a fork takes them all), then region. The lock of the mapped blocks is a
 * leaf. No lock is ever held across a call into libc.
 *
 * ---- Forks ----
 *
 * A thread that forks takes the registry's, the heaps' and the region's lock in its prepare handler, so that the child
 * finds all of that between two changes, and gives them back afterwards, in the parent and in the child. In between,
 * libc takes locks of its own (stdio's, the name service's) and other prepare handlers run and take theirs. A thread
 * that holds one of those may be about to allocate: were it to wait for the fork, the fork would wait for it.
 *
 *   So nobody waits for a fork. pm_lock_acquire_unless_forking fails when a fork has held the lock for a millisecond,
 *   and at once for the rest of that fork. The caller then does without what the lock guards: a request is served by
 *   the system allocator, whose own fork handling libc does last; a block that is freed waits on a list that the fork
 *   empties at its end (heap.h). Nothing changes behind the fork's back, so the child's copy is right.
 *
 *   pm_lock_acquire does not fail. It is for a lock that is only taken by who holds one that comes before it in the
 *   order: a fork that held the later one would hold the earlier one as well. And for tests and reports.
 *
 * A signal handler may fork after it interrupted a thread that holds a lock. The compare-and-exchange that takes a lock
 * also says who holds it, so there is no moment at which the holder is unknown. The fork passes the locks over that its
 * own thread holds already, and gives back only what it took; the interrupted section goes on in the parent, and in the
 * child, where the thread has the same number. Another thread's lock it waits for with empty hands: it gives back what
 * it has taken, since that other thread may be in a signal handler too and may be waiting to fork. (Two handlers that
 * have both interrupted a section, and both fork, wait for each other for ever.)
 *
 * The handlers of a fork may allocate in the forking thread. The locks that it holds for the fork count as taken then:
 * acquiring and releasing them does nothing. If the fork interrupted a section, acquiring fails instead.
 *
 * Numbers are given when a thread first needs one, and come again after 2^30 threads. Should two threads that live at
 * the same time have the same number then, one takes the other's lock for its own, and does without.
 */
#ifndef PM_LOCK_H
#define PM_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "compiler.h"
#include "os.h"

struct pm_lock {
    atomic_uint state;
};

/* The word: bits, and a thread's number, a multiple of PM_LOCK_THREAD. */
#define PM_LOCK_SLEEPERS 1u
#define PM_LOCK_FORK 2u
#define PM_LOCK_THREAD 4u

/* The calling thread's number, 0 until it has one. */
extern PM_THREAD_LOCAL unsigned pm_lock_thread;
unsigned pm_lock_number(void); /* gives it one */

bool pm_lock_acquire_slow(struct pm_lock *lock, bool may_fail);

static inline bool
pm_lock_take_free(struct pm_lock *lock)
{
    unsigned expected = 0, thread = pm_lock_thread;
    return PM_LIKELY(thread != 0) && PM_LIKELY(atomic_compare_exchange_strong_explicit(
                                         &lock->state, &expected, thread, memory_order_acquire, memory_order_relaxed));
}

static inline void
pm_lock_acquire(struct pm_lock *lock)
{
    if (PM_UNLIKELY(!pm_lock_take_free(lock)))
        pm_lock_acquire_slow(lock, false);
}

/* False, with nothing taken, when a fork holds the lock, or when this is a signal handler that interrupted the section
 * that holds it. */
static inline bool
pm_lock_acquire_unless_forking(struct pm_lock *lock)
{
    return PM_LIKELY(pm_lock_take_free(lock)) || pm_lock_acquire_slow(lock, true);
}

static inline void
pm_lock_release(struct pm_lock *lock)
{
    if (PM_UNLIKELY(atomic_load_explicit(&lock->state, memory_order_relaxed) & PM_LOCK_FORK))
        return; /* in a handler of the fork that holds it */
    if (PM_UNLIKELY(atomic_exchange_explicit(&lock->state, 0, memory_order_release) & PM_LOCK_SLEEPERS))
        pm_os_wake(&lock->state);
}

/* Whether pm_lock_acquire_unless_forking can fail now. If so, the fork that is the reason sees, once it has given its
 * locks back, what the caller stored before it asked: both sides use sequentially consistent operations. */
bool pm_lock_refuses(struct pm_lock *lock);

/* ---- In the handlers of fork ---- */

/* Forks nest: a signal handler may fork while its thread is about to. False when an outer one needs the locks still. */
void pm_lock_fork_begin(void);
bool pm_lock_fork_end(void);
bool pm_lock_forking(void);

/* False when another thread has kept the lock for long. */
bool pm_lock_fork_take(struct pm_lock *lock);
/* Does nothing unless this thread has taken the lock for a fork. */
void pm_lock_fork_give(struct pm_lock *lock);
/* Whether it has: otherwise it holds the lock for a section that the fork interrupted. */
bool pm_lock_fork_has(struct pm_lock *lock);

/* In a child: a lock that no fork takes is free again if a thread that does not exist here holds it. True when one
 * did. */
bool pm_lock_fork_reclaim(struct pm_lock *lock);

#endif
