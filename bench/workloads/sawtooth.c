/* SPDX-License-Identifier: MIT
 *
 * sawtooth: a heap that grows and shrinks, over and over.
 *
 * Models work in waves: a compiler over its files, a service over its batches, a collector over its cycles. It is the
 * counterpart of `burst`: there, memory that stays free should go back to the kernel; here, memory that is free now is
 * needed again a moment later, and giving it back costs a system call and a page fault for every page. Oldest blocks
 * die first. Many allocator papers have the pattern; its numbers (200 MB to 10 MB) are ours. */
#include "common.h"

static uint64_t high = 200000000, low = 10000000, cycles = 10, seed = 1;
static struct bench_sizes sizes;

/* A ring in order of birth. */
static struct {
    void **blocks;
    uint32_t *sizes;
    size_t first, count, capacity;
    uint64_t live, checksum;
} heap;

static void grow_to(uint64_t target, struct bench_rng *rng)
{
    while (heap.live < target) {
        size_t index = (heap.first + heap.count++) % heap.capacity;
        heap.sizes[index] = (uint32_t)bench_size(&sizes, rng);
        heap.blocks[index] = bench_malloc(heap.sizes[index]);
        bench_mark(heap.blocks[index], heap.sizes[index], heap.sizes[index] ^ index << 32);
        heap.live += heap.sizes[index];
    }
}

static void shrink_to(uint64_t target)
{
    while (heap.live > target) {
        size_t index = heap.first;
        bench_check(heap.blocks[index], heap.sizes[index], heap.sizes[index] ^ index << 32);
        bench_free(heap.blocks[index]);
        heap.live -= heap.sizes[index];
        heap.checksum = heap.checksum * 3 + heap.sizes[index];
        heap.first = (heap.first + 1) % heap.capacity;
        heap.count--;
    }
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"high", BENCH_COUNT, &high, "live bytes at the top", 1000, UINT64_MAX / 2, NULL},
        {"low", BENCH_COUNT, &low, "live bytes at the bottom", 0, UINT64_MAX / 2, NULL},
        {"cycles", BENCH_COUNT, &cycles, "times to grow and shrink", 1, 1000000, NULL},
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "16-255"},
        {"seed", BENCH_COUNT, &seed, "seed of the sizes", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "a heap that grows and shrinks, over and over", options);
    if (low > high)
        bench_usage_error("--low is above --high");

    struct bench_rng rng = bench_rng_stream(seed, 0);
    heap.capacity = high / sizes.min + 2;
    heap.blocks = bench_array(heap.capacity, sizeof *heap.blocks);
    heap.sizes = bench_array(heap.capacity, sizeof *heap.sizes);
    uint64_t baseline = bench_resident_exact(), high_held = 0, low_held = 0;
    double spent = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        double start = bench_now();
        grow_to(high, &rng);
        spent += bench_now() - start;
        high_held = bench_resident_quick();
        start = bench_now();
        shrink_to(low);
        spent += bench_now() - start;
        low_held = bench_resident_quick();
    }
    shrink_to(0);
    bench_report_count("top", high_held > baseline ? high_held - baseline : 0, "B");
    bench_report_count("bottom", low_held > baseline ? low_held - baseline : 0, "B");
    bench_report_time(spent, cycles);
    bench_report_checksum(heap.checksum);
    return 0;
}
