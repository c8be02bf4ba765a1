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
static struct pm_heap *heaps;  /* all, linked by next */
static struct pm_heap *_Atomic parked; /* linked by next_parked; written with the lock held */
static size_t parked_count;
static bool lost_threads; /* in a forked child */

struct pm_heap *const *const pm_process_heaps = &heaps;

static pthread_key_t exit_key;
static bool have_exit_key;

/* ---- Threads ---- */

struct pm_heap *
pm_process_newest_heap(void)
{
    pm_lock_acquire(&registry_lock);
    struct pm_heap *heap = heaps;
    pm_lock_release(&registry_lock);
    return heap;
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
        heaps = heap;
    }
    return heap;
}

static struct pm_heap *
take_heap(void)
{
    pm_lock_acquire(&registry_lock);
    struct pm_heap *heap = parked;
    if (heap != NULL) {
        parked = heap->next_parked;
        parked_count--;
        if (lost_threads)
            pm_magazine_mend_all(heap);
    } else {
        heap = make_heap();
    }
    if (heap != NULL)
        heap->state = PM_HEAP_OWNED;
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
    pm_lock_acquire(&registry_lock);
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
        pm_lock_acquire(&registry_lock);
        park(heap);
        pm_lock_release(&registry_lock);
    }
    pm_heap_current = &pm_heap_late;
}

/* ---- Fork ---- */

/* The forking thread takes every lock, so that the child finds each heap between two batches. */
static void
before_fork(void)
{
    pm_lock_acquire(&registry_lock);
    for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
        pm_lock_acquire(&heap->lock);
    pm_lock_acquire(&pm_map_lock);
    pm_lock_acquire(&pm_region_lock);
    pm_lock_fork_begin();
}

static void
release_all(void)
{
    pm_lock_fork_end();
    pm_lock_release(&pm_region_lock);
    pm_lock_release(&pm_map_lock);
    for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
        pm_lock_release(&heap->lock);
    pm_lock_release(&registry_lock);
}

/* The other threads do not exist here. Their heaps are whole (magazine.h) and wait for new threads, with whatever is in
 * their magazines: a child that executes another program at once pays no more than this loop for them. */
static void
after_fork_in_child(void)
{
    for (struct pm_heap *heap = heaps; heap != NULL; heap = heap->next)
        if (heap->state == PM_HEAP_OWNED && heap != pm_heap_current)
            park(heap);
    lost_threads = true;
    release_all();
}

/* ---- Start and end ---- */

enum { NOT_STARTED, STARTING, STARTED };
static atomic_uint state;

static void
start(void)
{
    int saved = errno;
    pm_options_read(environ);
    pm_region_init(pm_options.region);
    /* From here on this thread's requests are served, also those of the calls below. */
    if (pm_region.size != 0) {
        struct pm_heap *heap = take_heap();
        if (heap != NULL)
            pm_heap_current = heap;
    }
    pm_system_resolve();
    pm_system_probe();
    have_exit_key = pthread_key_create(&exit_key, leave) == 0;
    if (have_exit_key && pm_heap_current != &pm_heap_none)
        pthread_setspecific(exit_key, pm_heap_current);
    pthread_atfork(before_fork, release_all, after_fork_in_child);
    errno = saved;
}

/* Several threads may arrive here first when the library is opened late; one starts it, the others wait. False for a
 * request that start() itself makes. */
bool
pm_process_start(void)
{
    static PM_THREAD_LOCAL bool starting;
    if (PM_LIKELY(atomic_load_explicit(&state, memory_order_acquire) == STARTED))
        return true;
    if (starting)
        return false;
    unsigned expected = NOT_STARTED;
    if (atomic_compare_exchange_strong(&state, &expected, STARTING)) {
        starting = true;
        start();
        starting = false;
        atomic_store_explicit(&state, STARTED, memory_order_release);
        return true;
    }
    while (atomic_load_explicit(&state, memory_order_acquire) != STARTED)
        pm_os_yield();
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
}
