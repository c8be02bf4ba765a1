/* SPDX-License-Identifier: MIT
 *
 * alloc.c: what a request or a free costs the thread and the process besides its result.
 */
#include "heap.h"
#include "heap_count.h"
#include "options.h"
#include "poolmalloc.h"
#include "support/check.h"
#include "system.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 2000, SIZE = 48, THREADS = 50 };

static void *blocks[BLOCKS];

/* Time does not empty the magazines meanwhile. */
static void
stop_time(void)
{
    pm_options.purge = PM_PURGE_NEVER;
}

static void
take_and_give(size_t size)
{
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = pm_malloc(size);
    for (int i = 0; i < BLOCKS; i++)
        pm_free(blocks[i]);
}

/* ---- A request that nothing could meet ---- */

static size_t
too_large(int i)
{
    static const size_t sizes[] = {(size_t)1 << 60, PTRDIFF_MAX, (size_t)1 << 47};
    return sizes[i];
}

Test(alloc, an_impossible_request_costs_the_magazines_nothing, .init = stop_time)
{
    struct pm_magazine before[PM_MAGAZINE_COUNT];
    for (size_t size = 16; size <= 9000; size += size / 2)
        take_and_give(size);
    memcpy(before, pm_heap_current->magazines, sizeof before);
    REQUIRE(pm_magazine_count(&before[SIZE / PM_GRANULE]) != 0, "nothing at hand to lose");
    for (int i = 0; i < 3; i++) {
        errno = 0;
        REQUIRE(pm_malloc(too_large(i)) == NULL && errno == ENOMEM, "malloc(%zu): errno %d", too_large(i), errno);
        errno = 0;
        REQUIRE(pm_calloc(1, too_large(i)) == NULL && errno == ENOMEM, "calloc: errno %d", errno);
        errno = 0;
        REQUIRE(pm_aligned_alloc(4096, too_large(i)) == NULL && errno == ENOMEM, "aligned_alloc: errno %d", errno);
    }
    REQUIRE(memcmp(before, pm_heap_current->magazines, sizeof before) == 0, "the magazines have changed");
}

/* One that the pools might have met by giving up what they hold empties the magazines, and they work on as before. */
static void *(*real_malloc)(size_t size);

static void *
no_memory(size_t size)
{
    if (size != 3 << 20)
        return real_malloc(size);
    errno = ENOMEM;
    return NULL;
}

Test(alloc, a_request_that_fails_leaves_magazines_their_size, .init = stop_time)
{
    struct pm_magazine *magazine = &pm_heap_current->magazines[SIZE / PM_GRANULE];
    for (int round = 0; round < 20; round++)
        take_and_give(SIZE);
    unsigned capacity = magazine->capacity;
    REQUIRE(capacity > pm_magazine_capacity(SIZE / PM_GRANULE), "%u: it has not doubled", capacity);
    real_malloc = pm_system.malloc;
    pm_system.malloc = no_memory;
    REQUIRE(pm_malloc(3 << 20) == NULL && errno == ENOMEM, "errno %d", errno);
    pm_system.malloc = real_malloc;
    REQUIRE(pm_magazine_count(magazine) == 0 && magazine->capacity == capacity, "%u of %u left, it held %u",
            pm_magazine_count(magazine), magazine->capacity, capacity);
    take_and_give(SIZE);
    REQUIRE(pm_magazine_count(magazine) > capacity / 2, "%u", pm_magazine_count(magazine));
    pm_heap_verify(pm_heap_current);
}

/* ---- Large requests of threads that make few ---- */

static pthread_barrier_t all_there;

static void *
request_once(void *size)
{
    void *block = pm_malloc((size_t)(uintptr_t)size);
    REQUIRE(block != NULL, "no memory");
    pthread_barrier_wait(&all_there); /* all threads live at once */
    pm_free(block);
    return NULL;
}

Test(alloc, a_thread_with_one_large_request_gets_no_heap)
{
    static const uintptr_t sizes[] = {600, 2000, 30000};
    for (int i = 0; i < 3; i++) {
        pthread_t threads[THREADS];
        pthread_barrier_init(&all_there, NULL, THREADS);
        for (int j = 0; j < THREADS; j++)
            REQUIRE(pthread_create(&threads[j], NULL, request_once, (void *)sizes[i]) == 0, "no thread");
        for (int j = 0; j < THREADS; j++)
            pthread_join(threads[j], NULL);
        REQUIRE(heap_count() == 1, "%zu heaps after one request of %zu bytes in each thread", heap_count(),
                (size_t)sizes[i]);
    }
}

/* A thread that makes many gets one, for its blocks to wait in. */
static void *
request_often(void *unused)
{
    for (int i = 0; i < 2000; i++)
        pm_free(pm_malloc(2000));
    REQUIRE(pm_heap_current != NULL && pm_heap_current->magazines_end != 0, "no heap after 2,000 requests");
    return unused;
}

Test(alloc, a_thread_with_many_large_requests_gets_a_heap)
{
    pthread_t thread;
    pthread_create(&thread, NULL, request_often, NULL);
    pthread_join(thread, NULL);
    REQUIRE(heap_count() == 2, "%zu heaps", heap_count());
}

/* ---- Freeing ---- */

static void (*real_free)(void *block);

static void
free_and_change_errno(void *block)
{
    real_free(block);
    errno = EBUSY;
}

Test(alloc, free_keeps_errno_whatever_the_system_allocator_does)
{
    void *block = pm_malloc(100000), *aligned = pm_aligned_alloc(65536, 65536);
    real_free = pm_system.free;
    pm_system.free = free_and_change_errno;
    errno = 0;
    pm_free(block);
    REQUIRE(errno == 0, "free set errno to %d", errno);
    pm_free_sized(aligned, 65536);
    REQUIRE(errno == 0, "free_sized set errno to %d", errno);
    pm_system.free = real_free;
}

/* A block from before the system allocator was found lives on; the lock that guards those is held all the time. */
Test(alloc, freeing_takes_no_lock_for_early_blocks)
{
    void *early = pm_map_malloc(100000), *block = pm_malloc(100000), *waits = pm_malloc(2000);
    alarm(120); /* it would hang */
    pm_lock_acquire(&pm_map_lock);
    size_t size = pm_usable_size(block);
    pm_free(block);
    pm_free(waits);
    pm_lock_release(&pm_map_lock);
    alarm(0);
    REQUIRE(size >= 100000, "%zu", size);
    pm_free(early);
    REQUIRE(pm_map_count == 0, "%zu mapped blocks left", pm_map_count);
}

/* ---- Sizes ---- */

static void *
compare_sizes(void *unused)
{
    for (size_t size = 0; size <= 2000; size++) {
        void *block = pm_malloc(size);
        REQUIRE(pm_usable_size(block) >= pm_good_size(size), "%zu usable of %zu, %zu foretold", pm_usable_size(block),
                size, pm_good_size(size));
        pm_free(block);
    }
    return unused;
}

/* In a thread without a heap a small block is a whole cache line. */
Test(alloc, a_block_has_at_least_the_good_size)
{
    pthread_t thread;
    compare_sizes(NULL);
    pthread_create(&thread, NULL, compare_sizes, NULL);
    pthread_join(thread, NULL);
}
