/* SPDX-License-Identifier: MIT
 *
 * process.h: what other threads do while a fork holds the locks, and sections of the forking thread that it
 * interrupts.
 *
 * libc takes locks of its own after the library's handler has run, and so do handlers that run later. Here it is a
 * mutex of such a handler; a thread holds it that makes all kinds of requests and only then lets it go.
 */
#include "process.h"

#include "poolmalloc.h"
#include "region.h"
#include "support/check.h"
#include "support/suite.h"
#include "system.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 2000, CLASS = 8, SIZE = 64 };

/* ---- The handler ---- */

static bool handler_takes_mutex;
static sem_t has_mutex, fork_has_locks, has_heap, may_leave;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void
take_mutex(void)
{
    if (!handler_takes_mutex)
        return;
    sem_post(&fork_has_locks);
    pthread_mutex_lock(&mutex);
}

static void
give_mutex(void)
{
    if (handler_takes_mutex)
        pthread_mutex_unlock(&mutex);
}

/* Made before the library's, so that it runs after that one before a fork. */
__attribute__((constructor(101))) static void
make_handler_before_the_library_starts(void)
{
    pthread_atfork(take_mutex, give_mutex, give_mutex);
}

/* ---- The other threads ---- */

static void *held[BLOCKS]; /* the main thread's */
static pthread_t leaver;

static size_t
blocks_in_use(void)
{
    struct pm_stats stats;
    size_t blocks = 0;
    pm_stats_get(&stats);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        blocks += stats.classes[class - 1].blocks_in_use;
    return blocks;
}

static void *
leave_during_the_fork(void *unused)
{
    void *blocks[50];
    for (size_t i = 0; i < 50; i++)
        blocks[i] = pm_malloc(i * 10);
    for (size_t i = 0; i < 50; i++)
        pm_free(blocks[i]);
    REQUIRE(pm_process_heap() != NULL, "no heap");
    sem_post(&has_heap);
    sem_wait(&may_leave);
    return unused;
}

static void
make_requests(void)
{
    static unsigned char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i % 2 == 0 ? SIZE : i % 700;
        blocks[i] = i % 5 == 0 ? pm_aligned_alloc(64, size) : pm_malloc(size);
        REQUIRE(blocks[i] != NULL, "no memory for %zu bytes", size);
        memset(blocks[i], (int)i, size);
        if (i % 7 == 0)
            REQUIRE((blocks[i] = pm_realloc(blocks[i], size + 100)) != NULL, "no memory");
        if (i % 9 == 0) {
            pm_free(held[i]);
            held[i] = NULL;
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i % 2 == 0 ? SIZE : i % 700;
        REQUIRE(size == 0 || (blocks[i][0] == (unsigned char)i && blocks[i][size - 1] == (unsigned char)i),
                "block %zu was written to", i);
        pm_free(blocks[i]);
    }
    pm_trim(0);
}

/* Who needs memory asks again for as long as something was given up (alloc.c): during a fork that would have no end. */
static void
require_nothing_is_given_up(void)
{
    pm_free(pm_malloc(SIZE));
    REQUIRE(pm_options.check || pm_magazine_count(&pm_heap_current->magazines[CLASS]) != 0, "nothing is at hand");
    REQUIRE(!pm_magazine_flush_all(pm_heap_current), "what the fork kept from being flushed was flushed");
}

static void *
hold_the_mutex(void *unused)
{
    make_requests(); /* it has a heap, and blocks at hand */
    for (size_t i = 0; i < BLOCKS; i++)
        held[i] = pm_malloc(SIZE);
    pthread_mutex_lock(&mutex);
    sem_post(&has_mutex);
    sem_wait(&fork_has_locks);
    sem_post(&may_leave);
    pthread_join(leaver, NULL);
    require_nothing_is_given_up();
    make_requests();
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void
verify_heaps(size_t parked)
{
    REQUIRE(pm_process_parked_count() == parked, "%zu heaps are parked", pm_process_parked_count());
    REQUIRE(pm_region_lock.state == 0, "the region's lock is %u", pm_region_lock.state);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next) {
        REQUIRE(heap->lock.state == 0, "a heap's lock is %u", heap->lock.state);
        pm_heap_verify(heap);
    }
}

/* What the threads have freed is free, here as there. */
static void
require_blocks_returned(void)
{
    size_t blocks = blocks_in_use(), still_held = BLOCKS - (BLOCKS + 8) / 9;
    REQUIRE(blocks == still_held, "%zu blocks are in use, not %zu", blocks, still_held);
}

/* Any child, if it is -1. */
static void
expect_child(pid_t child)
{
    int status;
    pid_t ended = waitpid(child, &status, 0);
    REQUIRE(ended > 0 && (child < 0 || ended == child) && status == 0, "the child ended with %x", status);
}

static void
fork_and_be_waited_for(void)
{
    pthread_t holder;
    alarm(120);
    sem_init(&has_mutex, 0, 0);
    sem_init(&fork_has_locks, 0, 0);
    sem_init(&has_heap, 0, 0);
    sem_init(&may_leave, 0, 0);
    REQUIRE(pthread_create(&leaver, NULL, leave_during_the_fork, NULL) == 0, "no thread");
    sem_wait(&has_heap);
    REQUIRE(pthread_create(&holder, NULL, hold_the_mutex, NULL) == 0, "no thread");
    sem_wait(&has_mutex);
    handler_takes_mutex = true;
    pid_t child = fork();
    handler_takes_mutex = false;
    if (child == 0) {
        verify_heaps(2);
        require_blocks_returned();
        make_requests();
        _exit(0);
    }
    REQUIRE(child > 0, "fork");
    pthread_join(holder, NULL);
    verify_heaps(2);
    require_blocks_returned();
    expect_child(child);
}

Test(process_held, a_fork_that_waits_for_a_thread_that_allocates)
{
    pm_process_heap();
    fork_and_be_waited_for();
}

/* Each request takes the slow path. */
Test(process_held, in_the_checking_mode)
{
    pm_process_heap();
    pm_options.check = 1;
    fork_and_be_waited_for();
}

/* ---- A handler that forks ---- */

static void
fork_with(struct pm_lock *lock)
{
    alarm(120);
    pm_lock_acquire(lock);
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    REQUIRE(lock->state == pm_lock_number(), "the interrupted section lost its lock: %u", lock->state);
    pm_lock_release(lock);
    verify_heaps(0);
    for (size_t i = 0; i < BLOCKS; i++)
        held[i] = pm_malloc(i % 1000);
    for (size_t i = 0; i < BLOCKS; i++)
        pm_free(held[i]);
    verify_heaps(0);
    if (child == 0)
        _exit(0);
    expect_child(child);
}

Test(process_held, a_section_of_a_heap_is_interrupted)
{
    fork_with(&pm_process_heap()->lock);
}

Test(process_held, a_section_of_the_region_is_interrupted)
{
    pm_process_heap();
    fork_with(&pm_region_lock);
}

Test(process_held, a_section_of_the_mapped_blocks_is_interrupted)
{
    pm_process_heap();
    fork_with(&pm_map_lock);
}

/* Wherever the signal comes, parent and child go on, with whole heaps. */
static volatile sig_atomic_t forked; /* 1: the parent, which has not waited yet; 2: the child */

static void
fork_in_handler(int signal)
{
    int saved = errno;
    if (forked == 0)
        forked = fork() == 0 ? 2 : 1;
    errno = saved;
    (void)signal;
}

/* Pools only: the test runner has a second thread, and glibc's fork then hangs where its own malloc was interrupted. */
static void
use_sizes(size_t round)
{
    for (size_t i = 0; i < BLOCKS / 4; i++)
        held[i] = pm_malloc((i * 7 + round) % PM_SMALL_MAX);
    for (size_t i = 0; i < BLOCKS / 4; i++)
        pm_free(held[i]);
}

Test(process_held, handlers_fork_anywhere)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    alarm(120);
    pm_process_heap();
    pm_options.check = 1; /* each request takes locks */
    signal(SIGUSR1, fork_in_handler);
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "no timer");
    for (size_t round = 0; round < 200; round++) {
        struct itimerspec when = {.it_value.tv_nsec = 20000 + (long)(round * 7919 % 50000)};
        forked = 0;
        REQUIRE(timer_settime(timer, 0, &when, NULL) == 0, "timer_settime");
        while (forked == 0)
            use_sizes(round);
        verify_heaps(0);
        if (forked == 2) {
            alarm(60);
            use_sizes(round);
            verify_heaps(0);
            _exit(0);
        }
        expect_child(-1);
    }
    timer_delete(timer);
}

/* A handler that interrupted a section forks while another thread does, which needs the section's lock. */
static pthread_barrier_t both_fork;

static void
fork_again_and_again(struct pm_lock *interrupted)
{
    for (int i = 0; i < 50; i++) {
        if (interrupted != NULL)
            pm_lock_acquire(interrupted);
        pthread_barrier_wait(&both_fork);
        pid_t child = fork();
        if (interrupted != NULL)
            pm_lock_release(interrupted);
        pm_free(pm_malloc(100));
        if (child == 0)
            _exit(0);
        expect_child(child);
        pthread_barrier_wait(&both_fork); /* a section does not wait for anything */
    }
}

static void *
fork_with_own_heap(void *unused)
{
    fork_again_and_again(&pm_process_heap()->lock);
    return unused;
}

Test(process_held, a_handler_forks_while_another_thread_does)
{
    pthread_t other;
    alarm(120);
    pm_process_heap();
    pthread_barrier_init(&both_fork, NULL, 2);
    REQUIRE(pthread_create(&other, NULL, fork_with_own_heap, NULL) == 0, "no thread");
    fork_again_and_again(NULL);
    pthread_join(other, NULL);
    verify_heaps(1);
}

/* ---- Mapped blocks ---- */

static void *
fork_while_the_list_changes(void *unused)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        size_t count = pm_map_count;
        REQUIRE(count == 3, "%zu blocks", count);
        void *block = pm_map_malloc(5000);
        REQUIRE(pm_map_count == count + 1 && pm_map_owns(block), "%zu blocks", pm_map_count);
        pm_map_free(block);
        for (size_t i = 0; i < 3; i++)
            pm_map_free(held[i]);
        REQUIRE(pm_map_count == count - 3, "%zu blocks", pm_map_count);
        _exit(0);
    }
    expect_child(child);
    return unused;
}

Test(process_held, a_lost_thread_has_the_lock_of_the_mapped_blocks)
{
    pthread_t other;
    pm_process_heap();
    for (size_t i = 0; i < 3; i++)
        held[i] = pm_map_malloc(5000 * i);
    pm_lock_acquire(&pm_map_lock);
    pm_map_count++; /* as if a block were on its way to the list */
    REQUIRE(pthread_create(&other, NULL, fork_while_the_list_changes, NULL) == 0, "no thread");
    pthread_join(other, NULL);
    pm_map_count--;
    pm_lock_release(&pm_map_lock);
}
