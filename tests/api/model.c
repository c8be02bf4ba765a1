/* SPDX-License-Identifier: MIT
 *
 * A randomised model test: random sequences over all entry points, checked against a model that knows of each live
 * block its place, size, alignment and contents. One thread, several threads that free and realloc each other's blocks,
 * and several that moreover end and begin again all the time.
 *
 * TEST_SEED repeats a run (exactly, with one thread), TEST_SECONDS makes it longer.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/claim.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/random.h"
#include "support/suite.h"

#include <poolmalloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

enum { SLOTS = 4096, WORKERS = 4, MOST_WORKERS = 16 };

/* One block of the model, or none. Whoever turns `busy` from 0 to 1 may look at the rest and at the block. */
struct slot {
    atomic_int busy;
    unsigned char *block;
    size_t requested;
    size_t usable;
    uint64_t seed;
};

/* How the sequence behaves for a while: so that pools fill, drain, and change their class. */
struct phase {
    unsigned fill_percent; /* of free slots visited that get a block; and of full ones visited that keep theirs */
    unsigned sizes;        /* index of the size distribution */
};

struct worker {
    struct random random;
    struct phase phase;
    uint64_t operations;
    double end;
    pthread_t thread;
};

static struct slot *slots; /* mapped: the model must not live in the heap it judges */

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- Random sizes ---- */

static size_t
near_boundary(struct random *random)
{
    static const size_t boundaries[] = {8, 16, 24, 32, 48, 64, 128, 256, 496, 512, 528, 1008, 1024, 1040, 2048, 4096};
    size_t boundary = boundaries[random_below(random, sizeof boundaries / sizeof boundaries[0])];
    return boundary + random_below(random, 3) - 1;
}

static size_t
random_size(struct worker *worker)
{
    struct random *random = &worker->random;
    uint64_t kind = random_below(random, 1000);
    if (kind == 0)
        return random_below(random, 1 << 20);
    if (kind < 10)
        return random_below(random, 1 << 16);
    if (kind < 100)
        return near_boundary(random);
    switch (worker->phase.sizes) {
    case 0:
        return random_below(random, 65);
    case 1:
        return random_below(random, 513);
    case 2:
        return random_between(random, 400, 1200);
    case 3:
        return random_below(random, 4097);
    case 4:
        return near_boundary(random);
    default: /* one class at a time, drifting */
        return 16 * ((worker->operations >> 14) % 32) + random_below(random, 16) + 1;
    }
}

static void
new_phase(struct worker *worker)
{
    static const unsigned fills[] = {3, 20, 50, 80, 97};
    worker->phase.fill_percent = fills[random_below(&worker->random, 5)];
    worker->phase.sizes = (unsigned)random_below(&worker->random, 6);
}

/* ---- The model ---- */

/* The block is in use from here on, and all of it the caller's. */
static void
enter(struct slot *slot, void *block, size_t requested, size_t alignment, uint64_t seed)
{
    REQUIRE(block != NULL, "no memory for %zu bytes aligned to %zu", requested, alignment);
    REQUIRE((uintptr_t)block % alignment == 0, "%p for %zu bytes aligned to %zu", block, requested, alignment);
    slot->block = block;
    slot->requested = requested;
    slot->usable = mem.usable_size(block);
    slot->seed = seed;
    REQUIRE(slot->usable >= requested, "%zu usable bytes for %zu", slot->usable, requested);
    claim(block, slot->usable);
    pattern_write(block, slot->usable, seed);
}

static void
verify(const struct slot *slot)
{
    REQUIRE(pattern_holds(slot->block, slot->usable, slot->usable, slot->seed), "%p, %zu of %zu bytes, was overwritten",
            (void *)slot->block, slot->requested, slot->usable);
    REQUIRE(mem.usable_size(slot->block) == slot->usable, "%p: usable %zu, then %zu", (void *)slot->block, slot->usable,
            mem.usable_size(slot->block));
}

static void
leave(struct slot *slot)
{
    verify(slot);
    release(slot->block, slot->usable);
}

/* ---- Operations ---- */

static void *
get_aligned(struct random *random, size_t alignment, size_t size)
{
#ifdef TEST_STANDARD_NAMES
    void *block = NULL;
    switch (random_below(random, 3)) {
    case 0:
        return mem.memalign(alignment, size);
    case 1:
        REQUIRE(mem.posix_memalign(&block, alignment, size) == 0, "posix_memalign(%zu, %zu)", alignment, size);
        return block;
    default:
        break;
    }
#endif
    (void)random;
    return mem.aligned_alloc(alignment, size);
}

static void
allocate(struct worker *worker, struct slot *slot)
{
    struct random *random = &worker->random;
    size_t size = random_size(worker);
    uint64_t seed = random_next(random);
    uint64_t kind = random_below(random, 100);
    if (kind < 40) {
        enter(slot, mem.malloc(size), size, test_alignment_of(size), seed);
    } else if (kind < 55) {
        size_t alignment = (size_t)8 << random_below(random, random_below(random, 4) == 0 ? 14 : 7);
        enter(slot, get_aligned(random, alignment, size), size, alignment, seed);
    } else if (kind < 75) {
        size_t item = random_between(random, 1, 9);
        size = size / item * item;
        void *block = mem.calloc(size / item, item);
        REQUIRE(block != NULL && all_zero(block, size), "calloc(%zu, %zu) at %p is not zero", size / item, item, block);
        enter(slot, block, size, test_alignment_of(size), seed);
    } else {
        const struct producer *producer = &producers[random_below(random, producer_count)];
        enter(slot, producer->get(size), size, producer_alignment(producer, size), seed);
    }
}

static void
give_back(struct worker *worker, struct slot *slot)
{
    leave(slot);
    void *block = slot->block;
    slot->block = NULL;
    if (random_below(&worker->random, 2) == 0)
        mem.free(block);
    else
        consumers[random_below(&worker->random, consumer_count)].put(block, slot->requested);
}

static void
reallocate(struct worker *worker, struct slot *slot)
{
    size_t size = random_size(worker) + 1;
    leave(slot);
    void *moved =
        random_below(&worker->random, 2) == 0 ? mem.realloc(slot->block, size) : mem.reallocarray(slot->block, size, 1);
    REQUIRE(moved != NULL, "no memory for %zu bytes", size);
    size_t kept = slot->usable < size ? slot->usable : size;
    REQUIRE(pattern_holds(moved, slot->usable, kept, slot->seed), "realloc of %zu to %zu bytes lost contents",
            slot->requested, size);
    enter(slot, moved, size, test_alignment_of(size), random_next(&worker->random));
}

static void
step(struct worker *worker)
{
    struct random *random = &worker->random;
    struct slot *slot = &slots[random_below(random, SLOTS)];
    if (atomic_exchange_explicit(&slot->busy, 1, memory_order_acquire) != 0)
        return;
    int fill = random_below(random, 100) < worker->phase.fill_percent;
    if (slot->block == NULL) {
        if (fill)
            allocate(worker, slot);
    } else if (!fill) {
        give_back(worker, slot);
    } else if (random_below(random, 3) == 0) {
        reallocate(worker, slot);
    } else {
        verify(slot);
    }
    atomic_store_explicit(&slot->busy, 0, memory_order_release);
}

static void *
work(void *argument)
{
    struct worker *worker = argument;
    do {
        new_phase(worker);
        for (int i = 0; i < 16384; i++, worker->operations++)
            step(worker);
        if (random_below(&worker->random, 20) == 0)
            mem.trim(0);
    } while (now() < worker->end);
    return NULL;
}

static void
start(void)
{
    slots = mmap(NULL, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(slots != MAP_FAILED, "no memory for the model");
}

/* Everything goes back, and the pools agree. What the C library and Criterion took meanwhile is far less than a
 * leak. */
static void
finish(size_t in_use_before, uint64_t operations)
{
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i].block != NULL) {
            leave(&slots[i]);
            mem.free(slots[i].block);
        }
    }
    struct pm_stats stats;
    pm_stats_get(&stats);
    REQUIRE(stats.bytes_in_use < in_use_before + 65536, "%zu bytes in use, %zu before", stats.bytes_in_use,
            in_use_before);
    fprintf(stderr, "%llu operations\n", (unsigned long long)operations);
}

static size_t
bytes_in_use(void)
{
    struct pm_stats stats;
    pm_stats_get(&stats);
    return stats.bytes_in_use;
}

Test(model, one_thread)
{
    start();
    size_t before = bytes_in_use();
    struct worker worker = {.random.state = test_seed("model, one thread"), .end = now() + test_seconds(0.8)};
    work(&worker);
    finish(before, worker.operations);
}

/* Runs the workers until `end`; each lives for `life` seconds, then another takes its place. */
static void
run_workers(const char *what, double seconds, double life)
{
    static struct worker workers[MOST_WORKERS];
    start();
    size_t before = bytes_in_use();
    uint64_t seed = test_seed(what);
    double end = now() + seconds;
    for (int i = 0; i < WORKERS; i++)
        workers[i].random.state = seed + (uint64_t)i * 1000003;
    while (now() < end) {
        double stop = now() + life;
        for (int i = 0; i < WORKERS; i++) {
            workers[i].end = stop < end ? stop : end;
            REQUIRE(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "no thread");
        }
        for (int i = 0; i < WORKERS; i++)
            pthread_join(workers[i].thread, NULL);
    }
    uint64_t operations = 0;
    for (int i = 0; i < WORKERS; i++)
        operations += workers[i].operations;
    finish(before, operations);
}

Test(model, several_threads)
{
    run_workers("model, several threads", test_seconds(0.8), 1e9);
}

Test(model, threads_that_come_and_go)
{
    run_workers("model, threads that come and go", test_seconds(0.8), 0.0);
}
