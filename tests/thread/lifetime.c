/* SPDX-License-Identifier: MIT
 *
 * Threads that begin and end: what they hold is bounded by what lives at once, blocks outlive the thread that took
 * them, and key destructors, which run when the thread is half gone, may allocate and free.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/suite.h"

#include <limits.h>
#include <poolmalloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void
start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, function, argument);
    REQUIRE(error == 0, "pthread_create: %s", strerror(error));
}

/* The sizes of a thread that does a little of everything. */
static size_t
mixed_size(unsigned i)
{
    static const size_t sizes[] = {1, 8, 16, 24, 48, 100, 200, 400, 512, 513, 700, 1000, 1024, 1025, 3000};
    return sizes[i % (sizeof sizes / sizeof sizes[0])];
}

/* ---- Short threads ---- */

static void *
short_life(void *argument)
{
    enum { COUNT = 60 };
    unsigned char *blocks[COUNT];
    unsigned first = (unsigned)(uintptr_t)argument;
    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = mem.malloc(mixed_size(first + i));
        blocks[i][0] = (unsigned char)i;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        REQUIRE(blocks[i][0] == i, "thread %u, block %u", first, i);
        mem.free(blocks[i]);
    }
    return NULL;
}

Test(lifetime, twenty_thousand_short_threads_stay_bounded)
{
    enum { THREADS = TEST_SANITIZED ? 2000 : 20000, AT_ONCE = 4 };
    size_t resident = 0;
    for (unsigned started = 0; started < THREADS; started += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        if (started == THREADS / 10)
            resident = resident_bytes();
        for (unsigned i = 0; i < AT_ONCE; i++)
            start_thread(&threads[i], short_life, (void *)(uintptr_t)(started + i));
        for (unsigned i = 0; i < AT_ONCE; i++)
            pthread_join(threads[i], NULL);
    }
    require_growth_below(resident, 3 << 20, "20,000 short threads");
    struct pm_stats stats;
    pm_stats_get(&stats);
    REQUIRE(stats.heaps <= 16, "%zu heaps for %d threads at a time", stats.heaps, AT_ONCE);
}

/* ---- Blocks that outlive their thread ---- */

enum { ORPHANS = 20000 };

static void *orphans[ORPHANS];
static size_t orphan_size;

static void *
leave_orphans(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < ORPHANS; i++) {
        size_t size = orphan_size != 0 ? orphan_size : mixed_size(i);
        orphans[i] = mem.malloc(size);
        pattern_write(orphans[i], size, i);
    }
    return NULL;
}

static void
free_orphans(unsigned from, unsigned step)
{
    for (unsigned i = from; i < ORPHANS; i += step) {
        size_t size = orphan_size != 0 ? orphan_size : mixed_size(i);
        REQUIRE(pattern_holds(orphans[i], size, size, i), "orphan %u was overwritten", i);
        mem.free(orphans[i]);
    }
}

static void *
free_all_orphans(void *argument)
{
    (void)argument;
    free_orphans(0, 1);
    return NULL;
}

/* What the last thread left must serve the next: 50 rounds hold hardly more than a few. `freer`: a thread of its own
 * gives the blocks back, else the main thread does. */
static void
orphan_rounds(size_t size, int freer, const char *what)
{
    enum { ROUNDS = 50, FIRST = 6 };
    size_t resident = 0;
    orphan_size = size;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        if (round == FIRST)
            resident = resident_bytes();
        start_thread(&thread, leave_orphans, NULL);
        pthread_join(thread, NULL);
        if (freer) {
            start_thread(&thread, free_all_orphans, NULL);
            pthread_join(thread, NULL);
        } else {
            free_orphans(round % 2 == 0 ? 1 : 0, 2);
            free_orphans(round % 2 == 0 ? 0 : 1, 2);
        }
    }
    require_growth_below(resident, 6 << 20, what);
}

Test(lifetime, blocks_freed_after_their_thread_ended_are_used_again)
{
    orphan_rounds(64, 0, "64-byte blocks freed by the main thread");
    orphan_rounds(200, 1, "200-byte blocks freed by a thread");
    orphan_rounds(0, 0, "mixed blocks freed by the main thread");
    orphan_rounds(0, 1, "mixed blocks freed by a thread");
}

/* Nobody takes a new heap over here: what is freed into the heap of a thread that is gone goes back to the kernel or
 * serves the main thread, which from then on allocates alone. */
Test(lifetime, blocks_freed_into_an_abandoned_heap_serve_other_threads)
{
    enum { THREADS = 8 };
    static void *kept[THREADS][ORPHANS];
    orphan_size = 256;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        start_thread(&thread, leave_orphans, NULL);
        pthread_join(thread, NULL);
        memcpy(kept[i], orphans, sizeof orphans);
    }
    size_t resident = resident_bytes();
    for (int i = 0; i < THREADS; i++) {
        memcpy(orphans, kept[i], sizeof orphans);
        free_orphans(0, 1);
    }
    for (int i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < ORPHANS; j++) {
            kept[i][j] = mem.malloc(256);
            memset(kept[i][j], i, 256);
        }
    size_t moved = THREADS * (size_t)ORPHANS * 256;
    require_growth_below(resident, moved / 4, "blocks freed into heaps of threads that are gone");
    for (int i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < ORPHANS; j++)
            mem.free(kept[i][j]);
}

/* ---- Many threads at once ---- */

static pthread_barrier_t all_here;

static void *
live_together(void *argument)
{
    unsigned first = (unsigned)(uintptr_t)argument;
    unsigned char *blocks[40];
    for (unsigned i = 0; i < 40; i++) {
        blocks[i] = mem.malloc(mixed_size(first + i));
        memset(blocks[i], (int)(first & 0x7f), mixed_size(first + i));
    }
    pthread_barrier_wait(&all_here);
    for (unsigned i = 0; i < 40; i++) {
        size_t last = mixed_size(first + i) - 1;
        REQUIRE(blocks[i][0] == (first & 0x7f) && blocks[i][last] == (first & 0x7f), "thread %u, block %u", first, i);
        mem.free(blocks[i]);
    }
    return NULL;
}

Test(lifetime, hundreds_of_threads_at_once)
{
    enum { THREADS = 400, ROUNDS = 3 };
    static pthread_t threads[THREADS];
    size_t resident = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_init(&all_here, NULL, THREADS);
        for (unsigned i = 0; i < THREADS; i++)
            start_thread(&threads[i], live_together, (void *)(uintptr_t)i);
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        if (round == 0)
            resident = resident_bytes();
    }
    require_growth_below(resident, 32 << 20, "the second and third 400 threads");
}

/* ---- Key destructors ---- */

/* One key is made before main, so before or after poolmalloc's own, the other in the test: destructors run in the order
 * of the keys, and one of these runs when poolmalloc's has run already. */
static pthread_key_t early_key;
static pthread_key_t late_key;
static atomic_int destructor_calls;

struct chain {
    int rounds_left;
    void *block;
};

static void
destroy(pthread_key_t key, struct chain *chain)
{
    atomic_fetch_add(&destructor_calls, 1);
    REQUIRE(pattern_holds(chain->block, 300, 300, 7), "round %d", chain->rounds_left);
    mem.free(chain->block);
    for (unsigned i = 0; i < 50; i++)
        mem.free(mem.malloc(mixed_size(i)));
    if (chain->rounds_left == 0) {
        mem.free(chain);
        return;
    }
    struct chain *next = mem.malloc(sizeof *next);
    next->rounds_left = chain->rounds_left - 1;
    next->block = mem.malloc(300);
    pattern_write(next->block, 300, 7);
    mem.free(chain);
    pthread_setspecific(key, next);
}

static void
destroy_early(void *chain)
{
    destroy(early_key, chain);
}

static void
destroy_late(void *chain)
{
    destroy(late_key, chain);
}

__attribute__((constructor(101))) static void
make_early_key(void)
{
    pthread_key_create(&early_key, destroy_early);
}

static void
start_chain(pthread_key_t key, int rounds)
{
    struct chain *chain = mem.malloc(sizeof *chain);
    chain->rounds_left = rounds;
    chain->block = mem.malloc(300);
    pattern_write(chain->block, 300, 7);
    pthread_setspecific(key, chain);
}

static void *
leave_keys(void *argument)
{
    int rounds = (int)(intptr_t)argument;
    start_chain(early_key, rounds);
    start_chain(late_key, rounds);
    return NULL;
}

Test(lifetime, key_destructors_allocate_and_free)
{
    /* In the last round the sanitizers' own state of the thread is gone. */
    enum { ROUNDS = TEST_SANITIZED ? 1 : PTHREAD_DESTRUCTOR_ITERATIONS - 1, THREADS = TEST_SANITIZED ? 400 : 4000 };
    size_t resident = 0;
    REQUIRE(pthread_key_create(&late_key, destroy_late) == 0, "no key");
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (i == THREADS / 10)
            resident = resident_bytes();
        start_thread(&thread, leave_keys, (void *)(intptr_t)(i % (ROUNDS + 1)));
        pthread_join(thread, NULL);
    }
    int expected = THREADS / (ROUNDS + 1) * 2 * ((ROUNDS + 1) * (ROUNDS + 2) / 2);
    REQUIRE(destructor_calls == expected, "%d calls of destructors, not %d", destructor_calls, expected);
    require_growth_below(resident, 3 << 20, "threads whose key destructors allocate");
}

/* A thread whose only use of the heap is in a key destructor. */
static void *
only_leave_a_key(void *block)
{
    pthread_setspecific(late_key, block);
    return NULL;
}

Test(lifetime, key_destructors_are_the_first_to_use_the_heap)
{
    enum { THREADS = 2000 };
    size_t resident = 0;
    REQUIRE(pthread_key_create(&late_key, destroy_late) == 0, "no key");
    for (int i = 0; i < THREADS; i++) {
        if (i == THREADS / 10)
            resident = resident_bytes();
        pthread_t thread;
        struct chain *chain = mem.malloc(sizeof *chain);
        chain->rounds_left = i % 3;
        chain->block = mem.malloc(300);
        pattern_write(chain->block, 300, 7);
        start_thread(&thread, only_leave_a_key, chain);
        pthread_join(thread, NULL);
    }
    require_growth_below(resident, 3 << 20, "threads that allocate in key destructors only");
}
