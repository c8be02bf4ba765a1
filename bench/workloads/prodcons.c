/* SPDX-License-Identifier: MIT
 *
 * prodcons: producers allocate messages, consumers check and free them.
 *
 * Models a pipeline: a reader thread parses requests, workers answer and free them. Every block is freed by a thread
 * that did not allocate it, which is the case where an allocator either returns blocks to their owner, or lets one
 * thread's cache grow while another one asks the kernel for more. Lever and Boreham ("Malloc performance in a
 * multithreaded Linux environment", 2000) and the Hoard paper's producer-consumer discussion describe it. Messages pass
 * in parcels through one bounded queue, so that the queue's lock is taken once for many of them; --producers 1
 * --consumers 1 is one-to-one, larger numbers are many-to-many. */
#include "common.h"

enum { MAX_PARCEL = 256, MAX_QUEUE = 1024 };

static uint64_t producers = 1, consumers = 1, operations = 5000000, parcel_size = 64, queue_size = 64, seed = 1;
static struct bench_sizes sizes;

struct parcel {
    uint32_t count;
    void *blocks[MAX_PARCEL];
};

/* Guarded by its lock. A parcel of count 0 tells one consumer to stop. */
static struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    struct parcel *parcels;
    size_t first, used;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0};

struct context {
    uint64_t index, checksum;
    struct parcel *parcel;
};

static void put(const struct parcel *parcel)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.used == queue_size)
        pthread_cond_wait(&queue.not_full, &queue.lock);
    struct parcel *slot = &queue.parcels[(queue.first + queue.used++) % queue_size];
    slot->count = parcel->count;
    memcpy(slot->blocks, parcel->blocks, parcel->count * sizeof parcel->blocks[0]);
    pthread_cond_signal(&queue.not_empty);
    pthread_mutex_unlock(&queue.lock);
}

static void get(struct parcel *parcel)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.used == 0)
        pthread_cond_wait(&queue.not_empty, &queue.lock);
    const struct parcel *slot = &queue.parcels[queue.first];
    parcel->count = slot->count;
    memcpy(parcel->blocks, slot->blocks, slot->count * sizeof slot->blocks[0]);
    queue.first = (queue.first + 1) % queue_size;
    queue.used--;
    pthread_cond_signal(&queue.not_full);
    pthread_mutex_unlock(&queue.lock);
}

/* A message begins with its own size and the 32 bits it was made from; the mark's last byte repeats the top one. */
static void produce(struct context *context)
{
    struct bench_rng rng = bench_rng_stream(seed, context->index);
    struct parcel *parcel = context->parcel;
    for (uint64_t made = 0; made < operations; made += parcel->count) {
        uint64_t left = operations - made;
        parcel->count = (uint32_t)(left < parcel_size ? left : parcel_size);
        for (uint32_t i = 0; i < parcel->count; i++) {
            uint64_t bits = bench_random(&rng);
            size_t size = bench_size_of(&sizes, (uint32_t)bits);
            parcel->blocks[i] = bench_malloc(size);
            bench_mark(parcel->blocks[i], size, (bits & 0xffffffff00000000u) | size);
        }
        put(parcel);
    }
}

static void consume(struct context *context)
{
    struct parcel *parcel = context->parcel;
    for (get(parcel); parcel->count > 0; get(parcel)) {
        for (uint32_t i = 0; i < parcel->count; i++) {
            uint64_t mark;
            memcpy(&mark, parcel->blocks[i], sizeof mark);
            size_t size = (uint32_t)mark;
            if (size < sizes.min || size > sizes.max)
                bench_damaged(parcel->blocks[i], size, 0, mark);
            bench_check(parcel->blocks[i], size, mark);
            context->checksum += mark;
            bench_free(parcel->blocks[i]);
        }
    }
}

static void *consumer_thread(void *argument)
{
    consume(argument);
    return NULL;
}

static double transfer(struct context *contexts)
{
    static const struct parcel stop;
    pthread_t *threads = bench_array(consumers, sizeof *threads);
    for (uint64_t i = 0; i < consumers; i++)
        bench_thread(&threads[i], consumer_thread, &contexts[producers + i]);
    double start = bench_now();
    bench_parallel(producers, (void (*)(void *))produce, contexts, sizeof *contexts);
    for (uint64_t i = 0; i < consumers; i++)
        put(&stop);
    for (uint64_t i = 0; i < consumers; i++)
        pthread_join(threads[i], NULL);
    return bench_now() - start;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"sizes", BENCH_SIZES, &sizes, "sizes of the messages", 0, 0, "real:8-512"},
        {"producers", BENCH_COUNT, &producers, "threads that allocate", 1, 512, NULL},
        {"consumers", BENCH_COUNT, &consumers, "threads that free", 1, 512, NULL},
        {"parcel", BENCH_COUNT, &parcel_size, "messages passed at a time", 1, MAX_PARCEL, NULL},
        {"queue", BENCH_COUNT, &queue_size, "parcels the queue holds", 1, MAX_QUEUE, NULL},
        {"operations", BENCH_COUNT, &operations, "messages per producer", 1, UINT64_MAX, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of sizes and contents", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "producers allocate messages, consumers check and free them", options);

    uint64_t checksum = 0;
    struct context *contexts = bench_array(producers + consumers, sizeof *contexts);
    queue.parcels = bench_array(queue_size, sizeof *queue.parcels);
    for (uint64_t i = 0; i < producers + consumers; i++) {
        contexts[i].index = i;
        contexts[i].parcel = bench_array(1, sizeof *contexts[i].parcel);
    }
    double seconds = transfer(contexts);
    for (uint64_t i = 0; i < consumers; i++)
        checksum += contexts[producers + i].checksum;
    bench_report_time(seconds, operations * producers);
    bench_report_checksum(checksum);
    return 0;
}
