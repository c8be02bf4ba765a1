/* SPDX-License-Identifier: MIT */
#include "lock.h"

_Atomic(const void *) pm_lock_fork_owner;

/* Its address tells the threads apart. */
static PM_THREAD_LOCAL char self;

void
pm_lock_fork_begin(void)
{
    atomic_store_explicit(&pm_lock_fork_owner, &self, memory_order_relaxed);
}

void
pm_lock_fork_end(void)
{
    atomic_store_explicit(&pm_lock_fork_owner, NULL, memory_order_relaxed);
}

bool
pm_lock_forking(void)
{
    return atomic_load_explicit(&pm_lock_fork_owner, memory_order_relaxed) == &self;
}

void
pm_lock_acquire_slow(struct pm_lock *lock)
{
    if (pm_lock_forking())
        return;
    /* Critical sections are short (a batch of blocks), so a holder that runs is done soon: look a few times first. */
    for (int i = 0; i < 40; i++) {
        unsigned expected = 0;
        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->state, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
        pm_os_wait(&lock->state, 2);
}
