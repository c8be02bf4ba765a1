/* SPDX-License-Identifier: MIT
 *
 * The lock of the slow paths: one word, 0 free, 1 held, 2 held with sleepers (after Drepper, "Futexes are tricky").
 * Taking a free lock and giving it back is one atomic operation and one exchange. Layer 1: uses os.h.
 *
 * Order: registry, then heaps (one at a time; a fork takes them all), then mappings, then region. No lock is ever held
 * across a call into libc.
 *
 * While a process forks, the forking thread holds every lock. A fork handler of the program's own that runs meanwhile
 * may still allocate: for that thread the locks count as taken already.
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

/* During a fork the address of a thread-local variable of the forking thread, else NULL. */
extern _Atomic(const void *) pm_lock_fork_owner;

/* Between these two the calling thread, which holds every lock, is the forking one. */
void pm_lock_fork_begin(void);
void pm_lock_fork_end(void);
bool pm_lock_forking(void);

void pm_lock_acquire_slow(struct pm_lock *lock);

static inline void
pm_lock_acquire(struct pm_lock *lock)
{
    unsigned expected = 0;
    if (PM_UNLIKELY(!atomic_compare_exchange_strong_explicit(&lock->state, &expected, 1, memory_order_acquire,
                                                             memory_order_relaxed)))
        pm_lock_acquire_slow(lock);
}

static inline void
pm_lock_release(struct pm_lock *lock)
{
    if (PM_UNLIKELY(atomic_load_explicit(&pm_lock_fork_owner, memory_order_relaxed) != NULL) && pm_lock_forking())
        return;
    if (PM_UNLIKELY(atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2))
        pm_os_wake(&lock->state);
}

#endif
