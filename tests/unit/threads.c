/* SPDX-License-Identifier: MIT
 *
 * Threads at once: that free each other's blocks, and that look at, verify and purge each other's heaps meanwhile.
 * These tests are also run under ThreadSanitizer, which sees what they cannot: accesses that nothing orders.
 */
#include "heap.h"
#include "poolmalloc.h"
#include "process.h"
#include "purge.h"
#include "region.h"
#include "stats.h"
#include "support/check.h"
#include "support/random.h"
#include "support/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { THREADS = 4, MAILBOXES = 64, WORDS = 700, STEPS = 40000, ROUNDS = 3, LOOKS = 60 };

static _Atomic(uint64_t *) mailboxes[MAILBOXES];
static atomic_int stop;
static atomic_uint turns; /* of exchange_until_stopped */

static size_t
arenas_taken(void)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    return counts.arenas;
}

/* Puts blocks into mailboxes and frees what it finds there: nearly all blocks are freed by another thread. */
static void
exchange(struct random *random, int steps)
{
    for (int i = 0; i < steps; i++) {
        size_t words = 1 + random_below(random, random_below(random, 10) == 0 ? WORDS : 64);
        uint64_t *block = pm_malloc(8 * words);
        REQUIRE(block != NULL, "no memory");
        block[0] = words;
        block[words - 1] = words;
        block = atomic_exchange(&mailboxes[random_below(random, MAILBOXES)], block);
        if (block == NULL)
            continue;
        REQUIRE(block[0] <= WORDS && block[block[0] - 1] == block[0], "a block of %zu words was overwritten",
                (size_t)block[0]);
        REQUIRE(pm_usable_size(block) >= 8 * block[0], "%zu usable of %zu words", pm_usable_size(block),
                (size_t)block[0]);
        pm_free(block);
    }
}

static void *
exchange_once(void *number)
{
    struct random random = {(uint64_t)(uintptr_t)number};
    exchange(&random, STEPS);
    pm_heap_verify(pm_heap_current);
    return NULL;
}

/* When all threads are gone and all blocks freed, nothing may be left in any heap. */
static void
require_nothing_left(void)
{
    for (int i = 0; i < MAILBOXES; i++)
        pm_free(mailboxes[i]);
    pm_magazine_flush_all(pm_process_heap());
    REQUIRE(arenas_taken() == 0, "%zu arenas", arenas_taken());
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
    REQUIRE(pm_process_parked_count() <= THREADS, "%zu parked heaps", pm_process_parked_count());
}

Test(threads, that_free_each_other_s_blocks)
{
    pthread_t threads[THREADS];
    for (int round = 0; round < ROUNDS; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, exchange_once, (void *)(i + 1)) == 0, "no thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
            pm_heap_verify(heap);
    }
    require_nothing_left();
}

/* ---- While another one looks ---- */

static void *
exchange_a_little(void *number)
{
    struct random random = {(uint64_t)(uintptr_t)number};
    exchange(&random, 500);
    return NULL;
}

/* Starts threads that do little and end, one after the other. */
static void *
start_threads(void *number)
{
    for (uintptr_t i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        pthread_t thread;
        void *seed = (void *)((uintptr_t)number * 1000 + i);
        REQUIRE(pthread_create(&thread, NULL, exchange_a_little, seed) == 0, "no thread");
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void *
exchange_until_stopped(void *number)
{
    struct random random = {(uint64_t)(uintptr_t)number};
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        exchange(&random, 100), atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    return NULL;
}

/* Numbers are a moment old, but never absurd. */
static void
look_at_statistics(int nowhere)
{
    struct pm_stats stats;
    pm_stats_get(&stats);
    REQUIRE(stats.heaps >= stats.heaps_parked && stats.heaps <= 2 * THREADS, "%zu heaps", stats.heaps);
    for (unsigned i = 0; i < PM_CLASS_COUNT; i++) {
        size_t magazines = stats.classes[i].blocks_magazine;
        REQUIRE(magazines <= stats.heaps * PM_MAGAZINE_MAX, "%zu blocks in magazines", magazines);
    }
    REQUIRE(stats.arenas <= stats.arenas_peak && stats.system_magazine_bytes < (size_t)1 << 30, "%zu arenas of %zu",
            stats.arenas, stats.arenas_peak);
    pm_stats_print(nowhere);
    pm_stats_print_totals(nowhere);
}

static void
look_at_everything(int nowhere)
{
    look_at_statistics(nowhere);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
    for (uintptr_t arena = 0; (arena = pm_region_next_arena(arena)) != 0; arena += PM_ARENA_SIZE)
        REQUIRE(pm_region_contains((void *)arena), "an arena outside the region");
}

Test(threads, that_are_looked_at)
{
    int nowhere = open("/dev/null", O_WRONLY);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, i % 2 ? start_threads : exchange_until_stopped, (void *)(i + 1)) == 0,
                "no thread");
    for (int i = 0; i < LOOKS; i++) {
        unsigned before = atomic_load(&turns);
        look_at_everything(nowhere);
        if (i % 3 == 0)
            pm_trim(0);
        if (i % 5 == 0)
            pm_region_decommit(0);
        while (atomic_load(&turns) == before)
            usleep(1000); /* they have gone on meanwhile */
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    look_at_everything(nowhere);
    require_nothing_left();
}
