/* SPDX-License-Identifier: MIT
 *
 * idle: many threads that allocate a little and then sleep.
 *
 * Models a server with a pool of threads, or a desktop program with one thread per plug-in: what a thread costs when it
 * does nothing. Reported is the resident memory per thread, less the threads' stacks (they are touched before the first
 * measurement), next to the bytes each thread really holds. Per-thread caches and arenas are why allocators differ
 * here; the complaint is as old as glibc's arenas. */
#include "common.h"

static uint64_t threads = 200, blocks = 200, keep = 50, seed = 1;
static struct bench_sizes sizes;

struct context {
    uint64_t index, live;
    void **blocks;
    uint32_t *sizes;
};

static pthread_barrier_t barrier;

static int survives(uint64_t i)
{
    return i * keep % 100 < keep;
}

/* Some of the blocks are freed again, so that what a thread's cache keeps is part of the figure. */
static void *life(void *argument)
{
    struct context *context = argument;
    struct bench_rng rng = bench_rng_stream(seed, context->index);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (uint64_t i = 0; i < blocks; i++) {
        context->sizes[i] = (uint32_t)bench_size(&sizes, &rng);
        context->blocks[i] = bench_malloc(context->sizes[i]);
        bench_mark(context->blocks[i], context->sizes[i], context->index << 32 | i);
        context->live += context->sizes[i];
    }
    for (uint64_t i = 0; i < blocks; i++) {
        if (survives(i))
            continue;
        context->live -= context->sizes[i];
        bench_check(context->blocks[i], context->sizes[i], context->index << 32 | i);
        bench_free(context->blocks[i]);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (uint64_t i = 0; i < blocks; i++) {
        if (!survives(i))
            continue;
        bench_check(context->blocks[i], context->sizes[i], context->index << 32 | i);
        bench_free(context->blocks[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"threads", BENCH_COUNT, &threads, "threads", 1, 10000, NULL},
        {"blocks", BENCH_COUNT, &blocks, "blocks each allocates", 2, 10000000, NULL},
        {"keep", BENCH_COUNT, &keep, "per cent of them that it does not free", 0, 100, NULL},
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "real:8-512"},
        {"seed", BENCH_COUNT, &seed, "seed of the sizes", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "many threads that allocate a little and then sleep", options);

    struct context *contexts = bench_array(threads, sizeof *contexts);
    pthread_t *ids = bench_array(threads, sizeof *ids);
    void **table = bench_array(threads * blocks, sizeof *table);
    uint32_t *lengths = bench_array(threads * blocks, sizeof *lengths);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (uint64_t i = 0; i < threads; i++) {
        contexts[i] = (struct context){i, 0, table + i * blocks, lengths + i * blocks};
        bench_thread(&ids[i], life, &contexts[i]);
    }
    pthread_barrier_wait(&barrier);
    uint64_t before = bench_resident_exact(), live = 0;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    uint64_t after = bench_resident_exact();
    pthread_barrier_wait(&barrier);
    for (uint64_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        live += contexts[i].live;
    }
    bench_report("per_thread", (double)(after - before) / (double)threads, "B");
    bench_report("live_per_thread", (double)live / (double)threads, "B");
    bench_report_checksum(live);
    return 0;
}
