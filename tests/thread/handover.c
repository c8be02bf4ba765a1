/* SPDX-License-Identifier: MIT
 *
 * Blocks that one thread takes and another gives back, in all the traffic patterns where an allocator may pile memory
 * up: pairs of producer and consumer, one thread that only frees, many threads that exchange blocks of all sizes.
 */
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/random.h"
#include "support/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { QUEUE = 1024, BATCH = 32 };

/* A queue from one thread to another. Both sides publish in batches, so that the test is about the heap. */
struct queue {
    _Alignas(64) atomic_size_t written;
    _Alignas(64) atomic_size_t read;
    void *blocks[QUEUE];
    uint64_t bytes; /* to go through, the producer's */
    struct random random;
};

/* What the process held when a tenth of the traffic was through; every later reading is compared with it. */
static atomic_size_t resident_after_start;
static const size_t allowed_growth = 24 << 20;

static void
watch(uint64_t done, uint64_t total, const char *what)
{
    if (done < total / 10)
        return;
    size_t none = 0;
    if (!atomic_compare_exchange_strong(&resident_after_start, &none, resident_bytes()))
        require_growth_below(none, allowed_growth, what);
}

static void
put_batch(struct queue *queue, void **blocks)
{
    size_t at = atomic_load_explicit(&queue->written, memory_order_relaxed);
    while (at + BATCH - atomic_load_explicit(&queue->read, memory_order_acquire) > QUEUE)
        sched_yield();
    for (int i = 0; i < BATCH; i++)
        queue->blocks[(at + (size_t)i) % QUEUE] = blocks[i];
    atomic_store_explicit(&queue->written, at + BATCH, memory_order_release);
}

static void
take_batch(struct queue *queue, void **blocks)
{
    size_t at = atomic_load_explicit(&queue->read, memory_order_relaxed);
    while (atomic_load_explicit(&queue->written, memory_order_acquire) - at < BATCH)
        sched_yield();
    for (int i = 0; i < BATCH; i++)
        blocks[i] = queue->blocks[(at + (size_t)i) % QUEUE];
    atomic_store_explicit(&queue->read, at + BATCH, memory_order_release);
}

/* A block says at its beginning how long it is, and repeats at its end a word that no other block has. */
static void *
make_block(struct random *random, size_t size)
{
    uint64_t head[2] = {size, random_next(random)};
    unsigned char *block = mem.malloc(size);
    REQUIRE(block != NULL, "no memory for %zu bytes", size);
    memcpy(block + size - sizeof head[1], &head[1], sizeof head[1]);
    memcpy(block, head, sizeof head);
    return block;
}

static void
check_block(const unsigned char *block)
{
    uint64_t head[2];
    memcpy(head, block, sizeof head);
    REQUIRE(head[0] >= 24 && head[0] <= 100000, "%p begins with %#llx", (const void *)block,
            (unsigned long long)head[0]);
    REQUIRE(memcmp(block + head[0] - sizeof head[1], &head[1], sizeof head[1]) == 0, "%p, %llu bytes, was overwritten",
            (const void *)block, (unsigned long long)head[0]);
}

/* Sizes of 24..512 bytes mostly, some above: up to 1024, where system blocks are kept, and beyond. */
static size_t
traffic_size(struct random *random)
{
    uint64_t kind = random_below(random, 100);
    return kind < 80   ? random_between(random, 24, 512)
           : kind < 98 ? random_between(random, 513, 1024)
                       : random_between(random, 1025, 6000);
}

static void *
produce(void *argument)
{
    struct queue *queue = argument;
    uint64_t done = 0;
    for (unsigned batch = 0; done < queue->bytes; batch++) {
        void *blocks[BATCH];
        for (int i = 0; i < BATCH; i++) {
            size_t size = traffic_size(&queue->random);
            blocks[i] = make_block(&queue->random, size);
            done += size;
        }
        put_batch(queue, blocks);
        if (batch % 4096 == 4095)
            watch(done, queue->bytes, "traffic between threads");
    }
    void *end[BATCH] = {NULL};
    put_batch(queue, end);
    return NULL;
}

/* Frees what comes, never allocates. */
static void *
consume(void *argument)
{
    struct queue *queue = argument;
    for (;;) {
        void *blocks[BATCH];
        take_batch(queue, blocks);
        for (int i = 0; i < BATCH; i++) {
            if (blocks[i] == NULL)
                return NULL;
            check_block(blocks[i]);
            mem.free(blocks[i]);
        }
    }
}

static const uint64_t traffic = TEST_SANITIZED ? 50000000 : 1000000000;

static void
prepare(struct queue *queue, uint64_t bytes, uint64_t seed)
{
    memset(queue, 0, sizeof *queue);
    queue->bytes = bytes;
    queue->random.state = seed;
}

Test(handover, a_billion_bytes_through_pairs_stay_bounded)
{
    enum { PAIRS = 2 };
    static struct queue queues[PAIRS];
    pthread_t threads[2 * PAIRS];
    uint64_t seed = test_seed("pairs");
    for (int i = 0; i < PAIRS; i++) {
        prepare(&queues[i], traffic / PAIRS, seed + (uint64_t)i);
        pthread_create(&threads[2 * i], NULL, produce, &queues[i]);
        pthread_create(&threads[2 * i + 1], NULL, consume, &queues[i]);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        pthread_join(threads[i], NULL);
    watch(1, 1, "after the traffic");
}

/* The consumer of three producers: its magazines only ever fill. */
enum { PRODUCERS = 3 };
static struct queue to_sink[PRODUCERS];

static void *
sink(void *argument)
{
    (void)argument;
    int open[PRODUCERS] = {1, 1, 1};
    for (int left = PRODUCERS, turn = 0; left > 0; turn = (turn + 1) % PRODUCERS) {
        void *blocks[BATCH];
        if (!open[turn])
            continue;
        take_batch(&to_sink[turn], blocks);
        for (int i = 0; i < BATCH && open[turn]; i++) {
            if (blocks[i] == NULL) {
                open[turn] = 0;
                left--;
            } else {
                check_block(blocks[i]);
                mem.free(blocks[i]);
            }
        }
    }
    return NULL;
}

Test(handover, a_thread_that_only_frees_stays_bounded)
{
    pthread_t threads[PRODUCERS + 1];
    uint64_t seed = test_seed("sink");
    for (int i = 0; i < PRODUCERS; i++) {
        prepare(&to_sink[i], traffic / 2 / PRODUCERS, seed + (uint64_t)i);
        pthread_create(&threads[i], NULL, produce, &to_sink[i]);
    }
    pthread_create(&threads[PRODUCERS], NULL, sink, NULL);
    for (int i = 0; i <= PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    watch(1, 1, "after the traffic");
}

/* A producer that ends while its blocks are on the way, followed by another. */
Test(handover, producers_that_end_leave_their_blocks_to_the_consumer)
{
    enum { ROUNDS = 60 };
    static struct queue queue;
    uint64_t seed = test_seed("producers that end");
    size_t resident = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t producer;
        pthread_t consumer;
        prepare(&queue, 2000000, seed + (uint64_t)round);
        pthread_create(&producer, NULL, produce, &queue);
        pthread_create(&consumer, NULL, consume, &queue);
        pthread_join(producer, NULL);
        pthread_join(consumer, NULL);
        if (round == ROUNDS / 6)
            resident = resident_bytes();
    }
    require_growth_below(resident, allowed_growth / 4, "producers that end");
}

/* ---- Everybody exchanges with everybody ---- */

enum { EXCHANGERS = 8, TABLE = 2048 };

static _Atomic(void *) table[TABLE];

static void *
exchange(void *argument)
{
    struct random random = {(uint64_t)(uintptr_t)argument};
    int steps = TEST_SANITIZED ? 30000 : 300000;
    for (int i = 0; i < steps; i++) {
        size_t size = traffic_size(&random);
        void *mine = random_below(&random, 8) == 0 ? NULL : make_block(&random, size);
        void *other = atomic_exchange_explicit(&table[random_below(&random, TABLE)], mine, memory_order_acq_rel);
        if (other == NULL)
            continue;
        check_block(other);
        if (i % 5 == 0) {
            uint64_t bytes;
            memcpy(&bytes, other, sizeof bytes);
            other = mem.realloc(other, bytes + random_below(&random, 1000));
            REQUIRE(other != NULL, "realloc");
            check_block(other);
        }
        mem.free(other);
    }
    return NULL;
}

Test(handover, many_threads_exchange_blocks_of_all_sizes)
{
    enum { ROUNDS = 3 };
    size_t resident = 0;
    uint64_t seed = test_seed("exchange");
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[EXCHANGERS];
        for (int i = 0; i < EXCHANGERS; i++)
            pthread_create(&threads[i], NULL, exchange, (void *)(uintptr_t)(seed + (uint64_t)(round * 100 + i)));
        for (int i = 0; i < EXCHANGERS; i++)
            pthread_join(threads[i], NULL);
        if (round == 0)
            resident = resident_bytes();
    }
    require_growth_below(resident, allowed_growth, "threads that exchange blocks");
    for (int i = 0; i < TABLE; i++)
        mem.free(table[i]);
}
