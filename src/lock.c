/* SPDX-License-Identifier: MIT */
#include "lock.h"

/* Critical sections are short (a batch of blocks), so a holder that runs is done soon: look a few times before
 * sleeping. */
#define LOOKS 40u

/* Milliseconds. A fork that is held up by nobody is mostly done in one. */
#define PATIENCE 1u
/* How often that, until a thread that forks lets go of what it has. */
#define FORK_PATIENCE 10u

PM_THREAD_LOCAL unsigned pm_lock_thread;

static PM_THREAD_LOCAL unsigned fork_depth;
static PM_THREAD_LOCAL bool interrupted; /* the fork interrupted a section of this thread that holds a lock */

/* Somebody has waited in vain for the fork that is under way: the others need not try. */
static atomic_bool hurry;

unsigned
pm_lock_number(void)
{
    static atomic_uint last;
    while (pm_lock_thread == 0)
        pm_lock_thread = PM_LOCK_THREAD + atomic_fetch_add_explicit(&last, PM_LOCK_THREAD, memory_order_relaxed);
    return pm_lock_thread;
}

static bool
is_own(unsigned word)
{
    return (word & ~(PM_LOCK_SLEEPERS | PM_LOCK_FORK)) == pm_lock_thread && word != 0;
}

static bool
take(struct pm_lock *lock, unsigned word)
{
    unsigned expected = 0;
    return atomic_compare_exchange_strong_explicit(&lock->state, &expected, word, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Another thread holds the lock, as `word` says. False when it held it for all of the time. */
static bool
await(struct pm_lock *lock, unsigned word, unsigned look)
{
    if (look < LOOKS) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        return true;
    }
    if (!(word & PM_LOCK_SLEEPERS) &&
        !atomic_compare_exchange_strong_explicit(&lock->state, &word, word | PM_LOCK_SLEEPERS, memory_order_relaxed,
                                                 memory_order_relaxed))
        return true;
    return pm_os_wait_for(&lock->state, word | PM_LOCK_SLEEPERS, PATIENCE);
}

bool
pm_lock_acquire_slow(struct pm_lock *lock, bool may_fail)
{
    unsigned thread = pm_lock_number();
    bool waited = false; /* in vain */
    for (unsigned look = 0;; look++) {
        unsigned word = atomic_load_explicit(&lock->state, memory_order_relaxed);
        if (word == 0) {
            /* Who has slept does not know whether others still do. */
            if (take(lock, look > LOOKS ? thread | PM_LOCK_SLEEPERS : thread))
                return true;
            continue;
        }
        if (is_own(word) && (word & PM_LOCK_FORK))
            return !may_fail || !interrupted;
        if (is_own(word) && may_fail)
            return false;
        if ((word & PM_LOCK_FORK) && waited)
            atomic_store_explicit(&hurry, true, memory_order_relaxed);
        if ((word & PM_LOCK_FORK) && may_fail && atomic_load_explicit(&hurry, memory_order_relaxed))
            return false;
        waited = !await(lock, word, look);
    }
}

bool
pm_lock_refuses(struct pm_lock *lock)
{
    unsigned word = atomic_load(&lock->state);
    return is_own(word) || (word & PM_LOCK_FORK);
}

/* ---- In the handlers of fork ---- */

void
pm_lock_fork_begin(void)
{
    pm_lock_number();
    fork_depth++;
    interrupted = false;
}

bool
pm_lock_fork_end(void)
{
    atomic_store_explicit(&hurry, false, memory_order_relaxed);
    return --fork_depth == 0;
}

bool
pm_lock_forking(void)
{
    return fork_depth != 0;
}

bool
pm_lock_fork_take(struct pm_lock *lock)
{
    unsigned failures = 0;
    for (unsigned look = 0; failures < FORK_PATIENCE; look++) {
        unsigned word = atomic_load_explicit(&lock->state, memory_order_relaxed);
        if (word == 0) {
            if (take(lock, pm_lock_thread | PM_LOCK_FORK | (look > LOOKS ? PM_LOCK_SLEEPERS : 0)))
                return true;
            continue;
        }
        if (is_own(word)) {
            interrupted |= !(word & PM_LOCK_FORK);
            return true;
        }
        failures += !await(lock, word, look);
    }
    return false;
}

bool
pm_lock_fork_has(struct pm_lock *lock)
{
    unsigned word = atomic_load_explicit(&lock->state, memory_order_relaxed);
    return is_own(word) && (word & PM_LOCK_FORK);
}

void
pm_lock_fork_give(struct pm_lock *lock)
{
    /* Not an exchange: a signal handler that forks here gives the lock back itself. */
    unsigned word = atomic_load_explicit(&lock->state, memory_order_relaxed);
    while (is_own(word) && (word & PM_LOCK_FORK))
        if (atomic_compare_exchange_strong_explicit(&lock->state, &word, 0, memory_order_seq_cst,
                                                    memory_order_relaxed)) {
            if (word & PM_LOCK_SLEEPERS)
                pm_os_wake(&lock->state);
            return;
        }
}

bool
pm_lock_fork_reclaim(struct pm_lock *lock)
{
    unsigned word = atomic_load_explicit(&lock->state, memory_order_relaxed);
    if (word == 0 || is_own(word))
        return false;
    atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
    return true;
}
