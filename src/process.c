/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "os.h"
#include "region.h"
#include "system.h"

static struct pm_lock registry_lock;
static struct pm_heap *heaps;  /* all, linked by next; written with the lock held, at one end */
static struct pm_heap *_Atomic leavers; /* linked by next_parked: to be parked by whoever gets the lock */
static struct pm_heap *_Atomic parked; /* linked by next_parked; written with the lock held */
static size_t parked_count;
static bool lost_threads; /* in a forked child */

struct pm_heap *const *const pm_process_heaps = &heaps;

static pthread_key_t exit_key;
static bool have_exit_key, have_handlers;

/* ---- Threads ---- */

struct pm_heap *
pm_process_newest_heap(void)
{
    return __atomic_load_n(&heaps, __ATOMIC_ACQUIRE);
}

size_t
pm_process_parked_count(void)
{
    pm_lock_acquire(&registry_lock);
    size_t count = parked_count;
    pm_lock_release(&registry_lock);
    return count;
}

/* The registry's lock is held. */
static struct pm_heap *
make_heap(void)
{
    struct pm_heap *heap = pm_heap_create();
    if (heap != NULL) {
        heap->next = heaps;
        __atomic_store_n(&heaps, heap, __ATOMIC_RELEASE); /* others read it without the lock */
    }
    return heap;
}

/* NULL when there is no memory, and during a fork. */
static struct pm_heap *
take_heap(void)
{
    if (!pm_lock_acquire_unless_forking(&registry_lock))
        return NULL;
    struct pm_heap *heap = parked;
    if (heap != NULL) {
        parked = heap->next_parked;
        parked_count--;
        if (lost_threads)
            pm_magazine_mend_all(heap);
    } else {
        heap = make_heap();
    }
    if (heap != NULL) {
        heap->owner = pm_lock_number();
        heap->state = PM_HEAP_OWNED;
    }
    pm_lock_release(&registry_lock);
    return heap;
}

/* The registry's lock is held. */
static void
park(struct pm_heap *heap)
{
    heap->state = PM_HEAP_PARKED;
    heap->next_parked = parked;
    parked = heap;
    parked_count++;
}

/* The registry's lock is held. */
static void
park_leavers(void)
{
    struct pm_heap *heap = atomic_exchange(&leavers, NULL);
    while (heap != NULL) {
        struct pm_heap *next = heap->next_parked;
        park(heap);
        heap = next;
    }
}

/* A fork that has the lock does it at its end; so a thread's exit does not wait for one. */
static void
settle_leavers(void)
{
    while (atomic_load(&leavers) != NULL && !pm_lock_refuses(&registry_lock)) {
        if (!pm_lock_acquire_unless_forking(&registry_lock))
            continue;
        park_leavers();
        pm_lock_release(&registry_lock);
    }
}

/* ---- Threads without a heap of their own ---- */

/* Many threads make a few requests and then sleep; a heap would be most of what they cost. So a new thread takes over a
 * parked heap, but has none made until it has made this many requests. */
#define ALONE_MAX 512u

/* When a thread exits before that, having made as many as this, the next ones will do the same: it leaves a heap
 * behind. */
#define WORTH_A_HEAP 64u

static PM_THREAD_LOCAL unsigned requests_alone;

static bool
does_without(void)
{
    if (!have_exit_key || requests_alone >= ALONE_MAX || atomic_load_explicit(&parked, memory_order_relaxed) != NULL)
        return false;
    if (requests_alone++ == 0) {
        int saved = errno;
        pthread_setspecific(exit_key, &pm_heap_none);
        errno = saved;
    }
    return true;
}

static void
leave_a_heap(void)
{
    if (!pm_lock_acquire_unless_forking(&registry_lock))
        return;
    struct pm_heap *heap = parked == NULL ? make_heap() : NULL;
    if (heap != NULL)
        park(heap);
    pm_lock_release(&registry_lock);
}

/* A destructor of the thread's keys. Others may run after it and allocate: they do without a heap. */
static void
leave(void *pointer)
{
    struct pm_heap *heap = pointer;
    if (heap == &pm_heap_none) {
        if (requests_alone >= WORTH_A_HEAP)
            leave_a_heap();
    } else {
        pm_magazine_flush_all(heap);
        pm_heap_drop_runs(heap);
        pm_heap_current = &pm_heap_late; /* before another thread can own it: a signal handler may allocate */
        heap->next_parked = atomic_load(&leavers);
        while (!atomic_compare_exchange_weak(&leavers, &heap->next_parked, heap)) {
        }
        settle_leavers();
    }
    pm_heap_current = &pm_heap_late;
}

/* ---- The state of the start ---- */

/* While a thread is at it, the process's number is above these two bits: a child that was forked meanwhile sees that
 * nobody is at it there. */
enum { NOT_STARTED, STARTED, STARTING };
static atomic_uint state;
static PM_THREAD_LOCAL bool starting;

static unsigned
starting_here(void)
{
    return (unsigned)pm_os_pid() << 2 | STARTING;
}

/* In a child, which may have the parent's number in another namespace, and whose thread may be the one that starts. */
static void
forget_lost_start(void)
{
    if (atomic_load(&state) != STARTED)
        atomic_store(&state, starting ? starting_here() : NOT_STARTED);
}

/* ---- Fork ---- */

/* The locks that a fork holds (lock.h). NULL, or the one that another thread has kept for long. */
static struct pm_lock *
take_locks(void)
{
    if (!pm_lock_fork_take(&registry_lock))
        return &registry_lock;
    for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
        if (!pm_lock_fork_take(&heap->lock))
            return &heap->lock;
    return pm_lock_fork_take(&pm_region_lock) ? NULL : &pm_region_lock;
}

static void
give_locks(void)
{
    pm_lock_fork_give(&pm_region_lock);
    for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
        pm_lock_fork_give(&heap->lock);
    pm_lock_fork_give(&registry_lock);
}

/* The forking thread takes every lock, so that the child finds each heap between two batches. */
static void
before_fork(void)
{
    pm_lock_fork_begin();
    for (struct pm_lock *busy; (busy = take_locks()) != NULL;) {
        give_locks();
        pm_lock_acquire(busy);
        pm_lock_release(busy);
    }
}

static void
after_fork(void)
{
    if (!pm_lock_fork_end())
        return;
    give_locks();
    settle_leavers();
    pm_heap_return_deferred();
}

/* The other threads do not exist here. Their heaps are whole (magazine.h) and wait for new threads, with whatever is in
 * their magazines: a child that executes another program at once pays no more than this loop for them. When the fork
 * interrupted a section of this thread that changes the lists, they stay as they are, and are lost. */
static void
after_fork_in_child(void)
{
    pm_map_mend();
    lost_threads = true;
    if (pm_lock_fork_has(&registry_lock)) {
        park_leavers();
        for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
            if (heap->state == PM_HEAP_OWNED && heap->owner != pm_lock_thread)
                park(heap);
    }
    forget_lost_start();
    after_fork();
}

/* ---- Start and end ---- */

/* Done again from the beginning in a child whose starting thread was lost. */
static void
start(void)
{
    int saved = errno;
    /* First, so that a fork by another thread finds what follows between two changes. */
    if (!have_handlers)
        have_handlers = pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;
    pm_options_read(environ);
    if (pm_region.size == 0)
        pm_region_init(pm_options.region);
    /* From here on this thread's requests are served, also those of the calls below. */
    if (pm_region.size != 0) {
        struct pm_heap *heap = take_heap();
        if (heap != NULL)
            pm_heap_current = heap;
    }
    pm_system_resolve();
    pm_system_probe();
    if (!have_exit_key)
        have_exit_key = pthread_key_create(&exit_key, leave) == 0;
    if (have_exit_key && pm_heap_current != &pm_heap_none)
        pthread_setspecific(exit_key, pm_heap_current);
    errno = saved;
}

/* Several threads may arrive here first when the library is opened late; one starts it, the others wait. False for a
 * request that start() itself makes. */
bool
pm_process_start(void)
{
    unsigned seen = atomic_load_explicit(&state, memory_order_acquire);
    if (PM_LIKELY(seen == STARTED))
        return true;
    if (starting)
        return false;
    unsigned here = starting_here();
    while (seen != STARTED) {
        starting = seen != here && atomic_compare_exchange_strong(&state, &seen, here);
        if (starting) {
            start();
            atomic_store_explicit(&state, STARTED, memory_order_release);
            starting = false;
            return true;
        }
        if (seen == here)
            pm_os_yield();
        seen = atomic_load_explicit(&state, memory_order_acquire);
    }
    return true;
}

struct pm_heap *
pm_process_heap(void)
{
    if (!pm_process_start() || pm_heap_current == &pm_heap_late)
        return NULL;
    if (pm_heap_current == &pm_heap_none) {
        /* Without the key nobody would notice the thread's exit, and its heap would be lost. */
        struct pm_heap *heap = have_exit_key && pm_region.size != 0 ? take_heap() : NULL;
        if (heap == NULL)
            return NULL;
        pm_heap_current = heap;
        int saved = errno;
        int failed = pthread_setspecific(exit_key, heap);
        errno = saved;
        if (failed) {
            leave(heap);
            return NULL;
        }
    }
    return pm_heap_current;
}

struct pm_heap *
pm_process_heap_for_block(void)
{
    if (pm_process_start() && pm_heap_current == &pm_heap_none && does_without())
        return NULL;
    return pm_process_heap();
}

/* The program may never allocate before it forks or sends a signal to itself; it starts with the library in order. */
__attribute__((constructor)) static void
start_early(void)
{
    pm_process_start();
    /* Another thread or the kernel is going to call into this code. */
    if (pm_options.purge_thread || pm_options.stats_signal != 0)
        pm_system_stay();
}

/* The plugin that contains this code is closed, or the process ends: what comes after this, the last destructor of the
 * object, must not call into it, and other threads and other objects' destructors go on. Threads no longer park their
 * heaps; libc removes the handlers of fork by itself. Blocks may still be in use, so what is left in the region stays;
 * the memory that is free goes, and the addresses that were never used. */
__attribute__((destructor(101))) static void
end_late(void)
{
    if (!pm_system_may_go())
        return;
    if (have_exit_key)
        pthread_key_delete(exit_key);
    have_exit_key = false;
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_purge(heap);
    pm_region_purge();
    pm_region_finish();
}
