/* SPDX-License-Identifier: MIT
 *
 * process.h: fork. The locks are held while it happens, for every thread but the forking one; the child parks the heaps
 * of the threads it lost, whole and with what their magazines hold, and its own threads take them over.
 */
#include "process.h"

#include "poolmalloc.h"
#include "region.h"
#include "support/check.h"
#include "support/suite.h"
#include "system.h"
#include "unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ThreadSanitizer's runtime starts no threads in the child of a process that has several. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_HAS_THREADS 0
#elif defined(__has_feature)
#define CHILD_HAS_THREADS !__has_feature(thread_sanitizer)
#else
#define CHILD_HAS_THREADS 1
#endif

enum { THREADS = 3, CLASS = 4, SIZE = 32, HELD = 20 };

static sem_t ready, go;

/* Allocates, frees some of it, which then waits in its magazine, and holds the rest. */
static void *
hold(void *unused)
{
    (void)unused;
    void *blocks[2 * HELD];
    REQUIRE(pm_process_heap() != NULL, "no heap");
    for (int i = 0; i < 2 * HELD; i++)
        blocks[i] = pm_malloc(SIZE);
    for (int i = 0; i < HELD; i++)
        pm_free(blocks[2 * i]);
    sem_post(&ready);
    sem_wait(&go);
    for (int i = 0; i < HELD; i++)
        pm_free(blocks[2 * i + 1]);
    return NULL;
}

static pthread_t threads[THREADS];

static void
start_threads(void)
{
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, hold, NULL) == 0, "no thread");
    for (int i = 0; i < THREADS; i++)
        sem_wait(&ready);
}

static void
end_threads(void)
{
    for (int i = 0; i < THREADS; i++)
        sem_post(&go);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* Runs `function` in a forked child, which must exit with 0. */
static void
in_child(void (*function)(void))
{
    int status;
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        alarm(20);
        function();
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child ended with %x", status);
}

static size_t
blocks_in_use(void)
{
    struct pm_stats stats;
    pm_stats_get(&stats);
    return stats.classes[CLASS - 1].blocks_in_use;
}

static void *
run(void *(*function)(void *))
{
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, function, NULL) == 0, "no thread");
    pthread_join(thread, &result);
    return result;
}

/* ---- The locks ---- */

static void
require_locks_free(void)
{
    REQUIRE(!pm_lock_forking(), "the process still forks");
    REQUIRE(pm_region_lock.state == 0 && pm_map_lock.state == 0, "%u, %u", pm_region_lock.state, pm_map_lock.state);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        REQUIRE(heap->lock.state == 0, "a heap's lock is %u", heap->lock.state);
}

Test(process_fork, all_locks_are_free_afterwards)
{
    start_threads();
    in_child(require_locks_free);
    require_locks_free();
    end_threads();
}

/* Handlers that were made before the library's own run while it holds all locks: in the forking thread before and
 * after, and in the child. */
static bool handlers_allocate;

static void
allocate_in_handler(void)
{
    void *blocks[400];
    if (!handlers_allocate)
        return;
    REQUIRE(pm_lock_forking() && pm_lock_fork_has(&pm_region_lock), "the locks are not held");
    for (size_t i = 0; i < 400; i++) {
        blocks[i] = pm_malloc(i * 3);
        REQUIRE(blocks[i] != NULL, "no memory");
        memset(blocks[i], 1, i * 3);
    }
    for (size_t i = 0; i < 400; i++)
        pm_free(blocks[i]);
    pm_trim(0);
    REQUIRE(pm_lock_forking() && pm_lock_fork_has(&pm_region_lock), "the locks were let go");
}

__attribute__((constructor(101))) static void
make_handlers_before_the_library_starts(void)
{
    pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler);
}

Test(process_fork, handlers_of_the_program_may_allocate)
{
    start_threads();
    handlers_allocate = true;
    in_child(require_locks_free);
    handlers_allocate = false;
    require_locks_free();
    end_threads();
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
}

/* ---- The child ---- */

static struct pm_heap *heap_before;

static void
check_heaps_in_child(void)
{
    REQUIRE(pm_heap_current == heap_before && heap_before->state == PM_HEAP_OWNED, "the forking thread lost its heap");
    REQUIRE(pm_process_parked_count() == THREADS, "%zu parked", pm_process_parked_count());
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next) {
        REQUIRE(heap->state == (heap == heap_before ? PM_HEAP_OWNED : PM_HEAP_PARKED), "state %d", heap->state);
        pm_heap_verify(heap);
    }
}

Test(process_fork, heaps_of_other_threads_are_parked)
{
    heap_before = pm_process_heap();
    start_threads();
    in_child(check_heaps_in_child);
    REQUIRE(pm_process_parked_count() == 0, "%zu parked in the parent", pm_process_parked_count());
    end_threads();
}

/* The first thing this thread does is allocating from a class whose magazine the lost thread has filled. */
static void *
allocate_first(void *unused)
{
    (void)unused;
    REQUIRE(pm_process_heap() != NULL, "no heap");
    void *block = pm_malloc(SIZE);
    memset(block, 1, SIZE);
    pm_free(block);
    return NULL;
}

/* Blocks in magazines are free: none of them may get lost when the heap is taken over. */
static void
take_over_in_child(void)
{
    size_t before = blocks_in_use();
    REQUIRE(before == THREADS * HELD, "%zu blocks in use", before);
    for (int i = 0; i < THREADS; i++)
        run(allocate_first);
    REQUIRE(blocks_in_use() == before, "%zu blocks in use, %zu before", blocks_in_use(), before);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
}

Test(process_fork, a_heap_taken_over_keeps_the_blocks_in_its_magazines)
{
    if (!CHILD_HAS_THREADS)
        return;
    start_threads();
    in_child(take_over_in_child);
    end_threads();
    REQUIRE(blocks_in_use() == 0, "%zu blocks in use", blocks_in_use());
}

/* ---- In the middle of a pop or a push ---- */

static struct pm_magazine *magazine;

/* The magazine of the class has one block on it. */
static void *
leave_one(void)
{
    REQUIRE(pm_process_heap() != NULL, "no heap");
    magazine = &pm_heap_current->magazines[CLASS];
    void *block = pm_malloc(SIZE);
    while (pm_magazine_count(magazine) != 0)
        block = pm_malloc(SIZE);
    pm_free(block);
    return block;
}

static void *
wait_in_a_pop(void *unused)
{
    leave_one();
    magazine->top--;
    sem_post(&ready);
    sem_wait(&go);
    magazine->top++;
    return unused;
}

static void *
wait_in_a_push(void *unused)
{
    void *block = leave_one();
    REQUIRE(pm_magazine_pop(magazine) == block, "another block");
    magazine->last = *magazine->top = block;
    sem_post(&ready);
    sem_wait(&go);
    magazine->last = NULL;
    pm_free(block);
    return unused;
}

/* Each block is handed out once. In two rounds: the frees of the first may overwrite the word below the entries. */
static void *
allocate_twice(void *unused)
{
    static uintptr_t *blocks[4 * HELD];
    for (int round = 0; round < 2; round++) {
        for (uintptr_t i = 0; i < 4 * HELD; i++) {
            blocks[i] = pm_malloc(SIZE);
            REQUIRE(pm_usable_size(blocks[i]) == SIZE, "%p is no block of %d bytes", (void *)blocks[i], SIZE);
            *blocks[i] = i;
        }
        for (uintptr_t i = 0; i < 4 * HELD; i++) {
            REQUIRE(*blocks[i] == i, "block %zu is block %zu as well", (size_t)i, (size_t)*blocks[i]);
            pm_free(blocks[i]);
        }
    }
    REQUIRE(magazine == &pm_heap_current->magazines[CLASS], "another heap");
    return unused;
}

static void
take_over_and_allocate(void)
{
    run(allocate_twice);
    pm_heap_verify(pm_process_newest_heap());
}

static void
fork_while(void *(*function)(void *))
{
    pthread_t thread;
    if (!CHILD_HAS_THREADS)
        return;
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    REQUIRE(pthread_create(&thread, NULL, function, NULL) == 0, "no thread");
    sem_wait(&ready);
    in_child(take_over_and_allocate);
    sem_post(&go);
    pthread_join(thread, NULL);
}

Test(process_fork, a_thread_that_pops_is_lost)
{
    fork_while(wait_in_a_pop);
}

Test(process_fork, a_thread_that_pushes_is_lost)
{
    fork_while(wait_in_a_push);
}

/* A child of a child, each with a new thread before it forks. */
static void
fork_again(void)
{
    static int depth;
    run(allocate_first);
    REQUIRE(pm_process_parked_count() >= 1, "%zu parked", pm_process_parked_count());
    if (++depth < 5)
        in_child(fork_again);
    require_locks_free();
}

Test(process_fork, children_fork)
{
    if (!CHILD_HAS_THREADS)
        return;
    start_threads();
    in_child(fork_again);
    end_threads();
}
