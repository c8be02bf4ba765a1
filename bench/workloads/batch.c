/* SPDX-License-Identifier: MIT
 *
 * batch: allocate many blocks, then free them all, in reverse order, in the same order or in random order.
 *
 * Models a unit of work: a request, a parsed document, a frame, whose objects live until it is done. LIFO is a stack
 * unwinding, FIFO a list freed from its head, random the teardown of a hash table. The three orders are those of
 * ptmalloc's and tcmalloc's test programs. Larger counts than a thread's cache holds force the allocator to move blocks
 * between the cache and what is behind it; this is what the workload is about. */
#include "common.h"

static uint64_t count = 2000, operations = 10000000, threads = 1, seed = 1;
static int order;
static struct bench_sizes sizes;

enum { LIFO, FIFO, RANDOM };

struct context {
    struct bench_rng rng;
    uint64_t checksum;
    void **blocks;
    uint32_t *sizes, *order;
};

static void make_order(uint32_t *indices, struct bench_rng *rng)
{
    for (uint64_t i = 0; i < count; i++)
        indices[i] = (uint32_t)(order == LIFO ? count - 1 - i : i);
    if (order == RANDOM)
        bench_shuffle(indices, count, rng);
}

static void prepare(struct context *context, uint64_t index)
{
    context->rng = bench_rng_stream(seed, index);
    context->blocks = bench_array(count, sizeof(void *));
    context->sizes = bench_array(count, sizeof(uint32_t));
    context->order = bench_array(count, sizeof(uint32_t));
    make_order(context->order, &context->rng);
    for (uint64_t i = 0; i < count; i++)
        context->sizes[i] = (uint32_t)bench_size(&sizes, &context->rng);
}

static void run(void *argument)
{
    struct context *context = argument;
    void **blocks = context->blocks;
    const uint32_t *block_sizes = context->sizes;

    for (uint64_t round = 0; round < (operations + count - 1) / count; round++) {
        uint64_t tag = bench_random(&context->rng);
        for (uint64_t i = 0; i < count; i++) {
            blocks[i] = bench_malloc(block_sizes[i]);
            bench_mark(blocks[i], block_sizes[i], tag + i);
        }
        for (uint64_t i = 0; i < count; i++) {
            uint32_t index = context->order[i];
            bench_check(blocks[index], block_sizes[index], tag + index);
            bench_free(blocks[index]);
        }
        context->checksum += tag;
    }
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "real:8-512"},
        {"count", BENCH_COUNT, &count, "blocks per batch", 1, 100000000, NULL},
        {"order", BENCH_CHOICE, &order, "order of the frees", 0, 0, "lifo fifo random"},
        {"operations", BENCH_COUNT, &operations, "blocks per thread in all", 1, UINT64_MAX / 2, NULL},
        {"threads", BENCH_COUNT, &threads, "threads", 1, 1024, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of sizes and orders", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "allocate many blocks, free them all in a given order", options);

    struct context *contexts = bench_array(threads, sizeof *contexts);
    for (uint64_t i = 0; i < threads; i++)
        prepare(&contexts[i], i);
    double seconds = bench_parallel(threads, run, contexts, sizeof *contexts);
    uint64_t checksum = 0;
    for (uint64_t i = 0; i < threads; i++)
        checksum += contexts[i].checksum;
    bench_report_time(seconds, operations);
    bench_report_checksum(checksum);
    return 0;
}
