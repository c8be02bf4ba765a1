/* SPDX-License-Identifier: MIT
 *
 * pair: malloc and free of one block, over and over.
 *
 * Models a temporary: a string formatted and thrown away, an iterator, an argument tuple. It is the smallest benchmark
 * there is (ptmalloc's t-test and the "simple" loops of most allocator papers have it); it measures the length of the
 * fast path and nothing else, because one block in the cache serves every request. It says nothing about placement.
 *
 * With --max above --min the loop runs over the sizes in between in steps of --step, each with the same share of the
 * operations. --empty runs the same loop on a fixed buffer: the cost of the loop itself, to be subtracted when
 * instructions are counted. */
#include "common.h"

static uint64_t min_size = 40, max_size = 40, step = 16, operations = 20000000, threads = 1, seed = 1;
static bool empty;

struct context {
    uint64_t first, checksum;
    unsigned char *buffer; /* stands for the block in the empty loop */
};

/* Both ends of the block are written and the first is read back, as a program that needs the block would. */
static inline uint64_t use(unsigned char *block, size_t size, uint64_t value)
{
    *(volatile uint64_t *)block = value;
    ((volatile unsigned char *)block)[size - 1] = (unsigned char)(value >> 56);
    bench_escape(block);
    return *(volatile uint64_t *)block;
}

static uint64_t pairs(const struct context *context, size_t size, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        unsigned char *block = malloc(size);
        bench_escape(block);
        sum += use(block, size, context->first + i);
        free(block);
    }
    return sum;
}

static uint64_t empty_pairs(const struct context *context, size_t size, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        unsigned char *block = context->buffer;
        bench_escape(block);
        sum += use(block, size, context->first + i);
        bench_escape(block);
    }
    return sum;
}

static void run(void *argument)
{
    struct context *context = argument;
    uint64_t rounds = (max_size - min_size) / step + 1;
    for (uint64_t size = min_size; size <= max_size; size += step) {
        uint64_t (*loop)(const struct context *, size_t, uint64_t) = empty ? empty_pairs : pairs;
        context->checksum += loop(context, size, operations / rounds);
    }
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"min", BENCH_COUNT, &min_size, "smallest size in bytes", BENCH_SIZE_MIN, BENCH_SIZE_MAX, NULL},
        {"max", BENCH_COUNT, &max_size, "largest size", BENCH_SIZE_MIN, BENCH_SIZE_MAX, NULL},
        {"step", BENCH_COUNT, &step, "distance between sizes", 1, BENCH_SIZE_MAX, NULL},
        {"operations", BENCH_COUNT, &operations, "pairs per thread", 1, UINT64_MAX, NULL},
        {"threads", BENCH_COUNT, &threads, "threads", 1, 1024, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of the values written", 0, UINT64_MAX, NULL},
        {"empty", BENCH_FLAG, &empty, "the loop without malloc and free", 0, 0, NULL},
        {0},
    };
    bench_start(argc, argv, "malloc and free of one block, over and over", options);
    if (max_size < min_size)
        bench_usage_error("--max %zu is below --min %zu", (size_t)max_size, (size_t)min_size);

    struct context *contexts = bench_array(threads, sizeof *contexts);
    for (uint64_t i = 0; i < threads; i++) {
        struct bench_rng rng = bench_rng_stream(seed, i);
        contexts[i].first = bench_random(&rng);
        contexts[i].buffer = bench_array(1, max_size);
    }
    double seconds = bench_parallel(threads, run, contexts, sizeof *contexts);
    uint64_t checksum = 0;
    for (uint64_t i = 0; i < threads; i++)
        checksum += contexts[i].checksum;
    bench_report_time(seconds, operations);
    bench_report_checksum(checksum);
    return 0;
}
