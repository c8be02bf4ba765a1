/* SPDX-License-Identifier: MIT
 *
 * process.h: which heap a thread gets. One for each thread; a parked one before a new one, the one parked last first;
 * and none in a thread that has given its own back, or without a region. process_alone.c has threads without a heap,
 * process_fork.c what a forked child finds.
 */
#include "process.h"

#include "heap_count.h"
#include "options.h"
#include "poolmalloc.h"
#include "region.h"
#include "support/check.h"
#include "support/suite.h"
#include "system.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

enum { THREADS = 4, BLOCKS = 3000 };

static size_t
arenas_taken(void)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    return counts.arenas;
}

static pthread_t
start(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, function, argument) == 0, "no thread");
    return thread;
}

static void *
run(void *(*function)(void *), void *argument)
{
    void *result;
    pthread_join(start(function, argument), &result);
    return result;
}

/* ---- A heap for each thread ---- */

/* A thread that holds its heap until it is told to go. */
struct holder {
    pthread_t thread;
    struct pm_heap *heap;
    sem_t ready, go;
};

static void *
hold(void *argument)
{
    struct holder *holder = argument;
    REQUIRE(pm_heap_current == &pm_heap_none, "a new thread has a heap");
    errno = 77;
    holder->heap = pm_process_heap();
    REQUIRE(errno == 77, "errno became %d", errno);
    REQUIRE(pm_heap_current == holder->heap && pm_process_heap() == holder->heap, "not the thread's own heap");
    REQUIRE(holder->heap == NULL || holder->heap->state == PM_HEAP_OWNED, "a heap in state %d", holder->heap->state);
    sem_post(&holder->ready);
    sem_wait(&holder->go);
    return NULL;
}

static void
begin(struct holder *holder)
{
    sem_init(&holder->ready, 0, 0);
    sem_init(&holder->go, 0, 0);
    holder->thread = start(hold, holder);
    sem_wait(&holder->ready);
}

static void
end(struct holder *holder)
{
    sem_post(&holder->go);
    pthread_join(holder->thread, NULL);
    REQUIRE(holder->heap->state == PM_HEAP_PARKED, "a heap in state %d", holder->heap->state);
}

Test(process, the_library_starts_before_main)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    REQUIRE(pm_region.size != 0 && counts.committed_bytes == 0, "%zu bytes, %zu accessible", pm_region.size,
            counts.committed_bytes);
    REQUIRE(pm_options.alignment != 0, "the options were not read");
    REQUIRE(pm_system.malloc != pm_map_malloc, "the system allocator was not found");
}

Test(process, the_first_thread_has_a_heap_from_the_start)
{
    REQUIRE(pm_heap_current != &pm_heap_none && pm_process_heap() == pm_heap_current, "no heap");
    REQUIRE(heap_count() == 1 && pm_process_newest_heap() == pm_heap_current, "%zu heaps", heap_count());
    REQUIRE(pm_heap_first() == pm_heap_current && pm_process_parked_count() == 0, "%zu parked",
            pm_process_parked_count());
}

Test(process, each_thread_has_its_own)
{
    struct holder holders[THREADS];
    for (int i = 0; i < THREADS; i++) {
        begin(&holders[i]);
        REQUIRE(holders[i].heap != NULL && holders[i].heap != pm_process_heap(), "thread %d", i);
        for (int k = 0; k < i; k++)
            REQUIRE(holders[i].heap != holders[k].heap, "threads %d and %d share a heap", i, k);
        REQUIRE(pm_process_newest_heap() == holders[i].heap, "the newest heap is not the first");
    }
    REQUIRE(heap_count() == THREADS + 1 && pm_process_parked_count() == 0, "%zu heaps", heap_count());
    for (int i = 0; i < THREADS; i++)
        end(&holders[i]);
    REQUIRE(heap_count() == THREADS + 1 && pm_process_parked_count() == THREADS, "%zu parked",
            pm_process_parked_count());
}

Test(process, the_heap_parked_last_is_taken_first)
{
    static const int order[THREADS] = {2, 0, 3, 1};
    struct holder holders[THREADS], successors[THREADS];
    for (int i = 0; i < THREADS; i++)
        begin(&holders[i]);
    for (int i = 0; i < THREADS; i++)
        end(&holders[order[i]]);
    for (int i = 0; i < THREADS; i++) {
        begin(&successors[i]);
        REQUIRE(successors[i].heap == holders[order[THREADS - 1 - i]].heap, "successor %d has another heap", i);
        REQUIRE(pm_process_parked_count() == (size_t)(THREADS - 1 - i), "%zu parked", pm_process_parked_count());
    }
    REQUIRE(heap_count() == THREADS + 1, "%zu heaps", heap_count());
    for (int i = 0; i < THREADS; i++)
        end(&successors[i]);
}

static void *
allocate_and_free(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        pm_free(pm_malloc(100));
    return NULL;
}

Test(process, many_threads_in_turn_need_one_heap)
{
    for (int i = 0; i < 200; i++)
        run(allocate_and_free, NULL);
    REQUIRE(heap_count() == 2 && pm_process_parked_count() == 1, "%zu heaps", heap_count());
    REQUIRE(arenas_taken() == 0, "%zu arenas", arenas_taken());
}

static void *
free_nothing(void *unused)
{
    (void)unused;
    pm_free(NULL);
    return NULL;
}

Test(process, a_thread_that_allocates_nothing_needs_none)
{
    run(free_nothing, NULL);
    REQUIRE(heap_count() == 1, "%zu heaps", heap_count());
}

/* ---- Parked heaps ---- */

static void *blocks[BLOCKS];

static void *
allocate(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = pm_malloc(1 + i % 700);
    return pm_heap_current;
}

static void
free_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        pm_free(blocks[i]);
    pm_magazine_flush_all(pm_process_heap());
}

Test(process, a_parked_heap_has_empty_magazines_and_no_runs)
{
    struct pm_heap *heap = run(allocate, NULL);
    REQUIRE(heap->state == PM_HEAP_PARKED, "not parked");
    for (unsigned number = 0; number < PM_MAGAZINE_COUNT; number++)
        REQUIRE(pm_magazine_count(&heap->magazines[number]) == 0, "magazine %u", number);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        REQUIRE(heap->classes[class].run_count == 0, "class %u has a run", class);
    pm_heap_verify(heap);
}

/* Nobody takes the heap over, and yet its memory is used no longer. */
Test(process, what_returns_to_a_parked_heap_returns_to_the_region)
{
    struct pm_heap *heap = run(allocate, NULL);
    REQUIRE(arenas_taken() > 0, "no arenas");
    free_blocks();
    REQUIRE(arenas_taken() == 0 && !has_arenas(heap), "%zu arenas", arenas_taken());
    REQUIRE(heap->state == PM_HEAP_PARKED, "not parked");
    pm_heap_verify(heap);
}

/* ---- After the thread has given its heap back ---- */

static void *late_block;

/* A destructor of a key made after the library's own: it runs behind it. */
static void
allocate_late(void *unused)
{
    (void)unused;
    REQUIRE(pm_heap_current == &pm_heap_late, "the thread still has a heap");
    REQUIRE(pm_process_heap() == NULL, "the thread has got another heap");
    void *both[] = {pm_malloc(40), pm_malloc(40)};
    REQUIRE(both[0] != NULL && pm_is_pooled(both[0]) && both[0] != both[1], "%p and %p", both[0], both[1]);
    memset(both[0], 1, 40);
    pm_free(both[0]);
    late_block = both[1];
    void *system[] = {pm_malloc(700), pm_malloc(5000)};
    REQUIRE(system[0] != NULL && system[1] != NULL, "no memory");
    pm_free(system[0]);
    pm_free(system[1]);
    REQUIRE(pm_heap_current == &pm_heap_late, "the thread has got a heap");
}

static void *
leave_late(void *key)
{
    REQUIRE(pm_process_heap() != NULL, "no heap");
    pm_free(pm_malloc(40));
    pthread_setspecific(*(pthread_key_t *)key, key);
    return NULL;
}

Test(process, a_late_thread_is_served_by_another_s_pools)
{
    pthread_key_t key;
    REQUIRE(pthread_key_create(&key, allocate_late) == 0, "no key");
    run(leave_late, &key);
    REQUIRE(late_block != NULL && pm_process_parked_count() == 1 && heap_count() == 2, "%zu heaps", heap_count());
    pm_free(late_block);
    pm_magazine_flush_all(pm_process_heap());
    REQUIRE(arenas_taken() == 0, "%zu arenas", arenas_taken());
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
}

/* ---- Without a region ---- */

static void *
allocate_without_region(void *unused)
{
    (void)unused;
    REQUIRE(pm_process_heap() == NULL && pm_heap_current == &pm_heap_none, "a heap without a region");
    char *block = pm_malloc(40), *other = pm_malloc(700);
    REQUIRE(block != NULL && !pm_is_pooled(block) && other != NULL, "%p", (void *)block);
    memset(block, 1, 40);
    block = pm_realloc(block, 400);
    REQUIRE(block != NULL && block[39] == 1, "realloc");
    pm_free(block);
    pm_free(other);
    return NULL;
}

Test(process, without_a_region_the_system_allocator_serves)
{
    pm_region.size = 0;
    run(allocate_without_region, NULL);
    REQUIRE(heap_count() == 1, "%zu heaps", heap_count());
}
