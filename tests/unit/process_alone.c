/* SPDX-License-Identifier: MIT
 *
 * process.h: threads without a heap of their own. A thread makes its first 512 requests for blocks of pools without
 * one, unless one is parked; one that exits earlier leaves a heap behind if it made 64.
 */
#include "heap_count.h"
#include "options.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "support/suite.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>

enum { ALONE_MAX = 512, WORTH_A_HEAP = 64, THREADS = 4 };

static void
run(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, function, argument) == 0, "no thread");
    pthread_join(thread, NULL);
}

/* `requests` of them, half mallocs and half frees. */
static void *
make_requests(void *requests)
{
    for (uintptr_t i = 0; i < (uintptr_t)requests / 2; i++)
        pm_free(pm_malloc(40 + i % 400));
    return NULL;
}

/* ---- Without a heap ---- */

static void *
make_all_but_one(void *unused)
{
    (void)unused;
    errno = 77;
    for (unsigned i = 0; i < ALONE_MAX / 2; i++) {
        void *block = pm_malloc(16 * (1 + i % 32));
        REQUIRE(pm_heap_owner(block) == pm_heap_first(), "request %u: a block of another heap", i);
        pm_free(block);
        REQUIRE(pm_pool_check(block) != PM_FAULT_NONE, "request %u: the block is not free", i);
        REQUIRE(pm_heap_current == &pm_heap_none, "request %u: a heap", i);
    }
    REQUIRE(errno == 77, "errno became %d", errno);
    return NULL;
}

Test(process_alone, the_first_requests_need_no_heap)
{
    run(make_all_but_one, NULL);
    REQUIRE(pm_heap_first()->pools == 0, "%zu pools", pm_heap_first()->pools);
    pm_heap_verify(pm_heap_first());
}

static void *
make_one_too_many(void *unused)
{
    make_requests((void *)ALONE_MAX);
    REQUIRE(pm_heap_current == &pm_heap_none, "a heap too early");
    make_requests((void *)2);
    REQUIRE(pm_heap_current != &pm_heap_none && pm_heap_current != pm_heap_first(), "no heap");
    return unused;
}

Test(process_alone, who_goes_on_gets_a_heap)
{
    run(make_one_too_many, NULL);
    REQUIRE(heap_count() == 2 && pm_process_parked_count() == 1, "%zu heaps", heap_count());
}

static void *
require_a_heap_at_once(void *heap)
{
    pm_free(pm_malloc(40));
    REQUIRE(pm_heap_current == heap, "not the parked heap");
    return NULL;
}

Test(process_alone, a_parked_heap_is_taken_over_at_once)
{
    run(make_one_too_many, NULL);
    run(require_a_heap_at_once, pm_process_newest_heap());
    REQUIRE(heap_count() == 2 && pm_process_parked_count() == 1, "%zu heaps", heap_count());
}

/* Requests that pass on to the system allocator are requests like others, and are counted once there is a heap. */
static void *
allocate_large(void *unused)
{
    for (int i = 0; i < ALONE_MAX; i++)
        pm_free(pm_malloc(100000));
    for (int i = 0; i < ALONE_MAX; i++)
        pm_free(pm_malloc(100000));
    REQUIRE(pm_heap_current != &pm_heap_none, "no heap after %d requests", 2 * ALONE_MAX);
    uint64_t counted = pm_heap_current->system_allocations;
    REQUIRE(counted >= ALONE_MAX, "%d counted", (int)counted);
    pm_free(pm_malloc(100000));
    REQUIRE(pm_heap_current->system_allocations == counted + 1, "not counted");
    return unused;
}

Test(process_alone, large_requests_are_counted)
{
    run(allocate_large, NULL);
    REQUIRE(heap_count() == 2, "%zu heaps", heap_count());
}

static void *
require_pooled(void *unused)
{
    REQUIRE(pm_is_pooled(pm_malloc(16)), "16-byte blocks are free");
    REQUIRE(pm_heap_current == &pm_heap_none, "a heap");
    return unused;
}

/* A small block gets a cache line to itself as long as there are free pools for that. */
Test(process_alone, small_blocks_when_no_pool_is_left)
{
    fresh_region((size_t)16 << 20);
    struct pm_heap *first = pm_heap_first();
    REQUIRE(pm_heap_take_one(first, pm_class_of_malloc(16, PM_MALLOC_ALIGNMENT)) != NULL, "no block");
    while (pm_heap_take_one(first, PM_CLASS_LAST) != NULL) {
    }
    run(require_pooled, NULL);
    pm_heap_verify(first);
}

/* ---- What a thread leaves behind ---- */

Test(process_alone, who_makes_few_requests_leaves_no_heap)
{
    for (int i = 0; i < 20; i++)
        run(make_requests, (void *)(WORTH_A_HEAP - 2));
    REQUIRE(heap_count() == 1 && pm_process_parked_count() == 0, "%zu heaps", heap_count());
}

Test(process_alone, who_makes_more_leaves_one)
{
    for (int i = 0; i < 20; i++)
        run(make_requests, (void *)WORTH_A_HEAP);
    REQUIRE(heap_count() == 2 && pm_process_parked_count() == 1, "%zu heaps", heap_count());
    pm_heap_verify(pm_process_newest_heap());
}

static void *
hold(void *barrier)
{
    make_requests((void *)WORTH_A_HEAP);
    pthread_barrier_wait(barrier);
    return NULL;
}

/* Four at a time, none of which found one parked: one is enough for a beginning. */
Test(process_alone, only_one_is_left)
{
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, hold, &barrier) == 0, "no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    REQUIRE(heap_count() == 2 && pm_process_parked_count() == 1, "%zu heaps", heap_count());
}

/* Threads without a heap look whether one is parked while others park theirs and take them over. */
Test(process_alone, threads_come_and_go)
{
    pthread_t threads[THREADS];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, make_requests, (void *)(WORTH_A_HEAP * 4)) == 0, "no thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    REQUIRE(heap_count() <= THREADS + 1, "%zu heaps", heap_count());
    REQUIRE(pm_process_parked_count() == heap_count() - 1, "%zu heaps parked", pm_process_parked_count());
}

/* ---- Cache lines ---- */

static pthread_barrier_t turn;

/* The two take one block each in turn, of all sizes that go into a line more than once. */
static void *
take_lines(void *argument)
{
    uintptr_t *lines = argument;
    for (int i = 0; i < 60; i++) {
        lines[i] = (uintptr_t)pm_malloc((size_t)8 << i % 3) / PM_CACHE_LINE;
        pthread_barrier_wait(&turn);
    }
    REQUIRE(pm_heap_current == &pm_heap_none, "a heap");
    return NULL;
}

Test(process_alone, two_threads_share_no_cache_line)
{
    static uintptr_t lines[2][60];
    pthread_t threads[2];
    pthread_barrier_init(&turn, NULL, 2);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, take_lines, lines[i]) == 0, "no thread");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 60; i++)
        for (int k = 0; k < 60; k++)
            REQUIRE(lines[0][i] != lines[1][k], "requests %d and %d share a line", i, k);
}
