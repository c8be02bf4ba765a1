/* SPDX-License-Identifier: MIT
 *
 * burst: a large population is allocated, most of it is freed, then only light work goes on.
 *
 * Models the end of a rush: a batch job finished in a service that stays up, a cache dropped, a large document closed.
 * What people see afterwards in `top` is what this program reports: the resident memory against the bytes still live
 * and against the page floor, the bytes of the pages that hold at least one live block. The floor is counted from the
 * addresses this allocator gave, so it differs from one allocator to the next: placement is part of the result. The
 * pattern is the common complaint "memory that was freed and never came back"; published forms of it are in the papers
 * on Mesh (Powers et al., PLDI 2019) and on fragmentation by Johnstone and Wilson (ISMM 1998).
 *
 * --drain says what is freed: all of it; --keep per cent survive at random (`random`, freed in random order); or whole
 * stretches of --stretch blocks that were allocated one after the other survive or die together (`stretch`). With
 * several threads each frees what its neighbour allocated. The settling time is light work: every millisecond each
 * thread replaces some blocks of a small set. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "common.h"

#include <malloc.h>
#include <unistd.h>

enum { RING = 256, RING_STEP = 64, SAMPLES = 64, TICK_US = 1000, TICKS_PER_SAMPLE = 10 };
enum { ALL, RANDOM, STRETCH };

static uint64_t blocks = 3000000, keep = 10, stretch = 200, threads = 1, seed = 1;
static double settle = 0.5;
static int drain_mode;
static struct bench_sizes sizes;

/* All blocks of all threads stand in one table: thread after thread, then the threads' rings of light work. */
static struct {
    void **blocks;
    uint32_t *sizes;
    uint32_t *order; /* of the frees, within each thread's part */
    bool *dies;
    size_t part, count;
} table;

static double start_time, spent;
static uint64_t baseline, live_bytes, peak_bytes;
static pthread_barrier_t phase;

static uint64_t tag_of(size_t index)
{
    return index * 0x9e3779b97f4a7c15u;
}

static void allocate(size_t index)
{
    table.blocks[index] = bench_malloc(table.sizes[index]);
    bench_mark(table.blocks[index], table.sizes[index], tag_of(index));
}

static void release(size_t index)
{
    bench_check(table.blocks[index], table.sizes[index], tag_of(index));
    bench_free(table.blocks[index]);
    table.blocks[index] = NULL;
}

static void sample(void)
{
    uint64_t resident = bench_resident_quick();
    uint64_t held = resident > baseline ? resident - baseline : 0;
    bench_report_point("resident", bench_now() - start_time, (double)held);
    if (held > peak_bytes)
        peak_bytes = held;
}

/* The main thread is worker 0; it takes the samples between its own work. */
static void grow(size_t worker)
{
    size_t first = worker * table.part;
    for (size_t i = 0; i < table.part; i++) {
        allocate(first + i);
        if (worker == 0 && i % (table.part / SAMPLES + 1) == 0)
            sample();
    }
}

static void drain(size_t worker)
{
    size_t first = (worker + 1) % threads * table.part;
    for (size_t i = 0; i < table.part; i++) {
        size_t index = first + table.order[first + i];
        if (table.dies[index])
            release(index);
        if (worker == 0 && i % (table.part / SAMPLES + 1) == 0)
            sample();
    }
}

static void light_work(size_t worker)
{
    size_t ring = threads * table.part + worker * RING;
    double end = bench_now() + settle;
    for (uint64_t tick = 0; bench_now() < end; tick++) {
        for (size_t i = 0; i < RING_STEP; i++) {
            size_t index = ring + (tick * RING_STEP + i) % RING;
            if (table.blocks[index] != NULL)
                release(index);
            allocate(index);
        }
        usleep(TICK_US);
        if (worker == 0 && tick % TICKS_PER_SAMPLE == 0)
            sample();
    }
}

static void report(void)
{
    uint64_t resident = bench_resident_exact();
    uint64_t held = resident > baseline ? resident - baseline : 0;
    for (size_t i = 0; i < table.count; i++)
        live_bytes += table.blocks[i] != NULL ? table.sizes[i] : 0;
    uint64_t floor = bench_page_floor(table.blocks, table.sizes, table.count);
    bench_trim();
    uint64_t after = bench_resident_exact();

    bench_report_count("live", live_bytes, "B");
    bench_report_count("floor", floor, "B");
    bench_report_count("held", held, "B");
    bench_report_count("held_after_trim", after > baseline ? after - baseline : 0, "B");
    bench_report_count("peak", peak_bytes, "B");
    bench_report_point("trimmed", bench_now() - start_time, after > baseline ? (double)(after - baseline) : 0);
}

static void *work(void *argument)
{
    size_t worker = *(size_t *)argument;
    pthread_barrier_wait(&phase);
    if (worker == 0) {
        baseline = bench_resident_exact();
        start_time = bench_now();
    }
    pthread_barrier_wait(&phase);
    grow(worker);
    pthread_barrier_wait(&phase);
    drain(worker);
    pthread_barrier_wait(&phase);
    if (worker == 0)
        spent = bench_now() - start_time;
    light_work(worker);
    pthread_barrier_wait(&phase);
    if (worker == 0)
        report();
    pthread_barrier_wait(&phase);
    return NULL;
}

static void decide_deaths(size_t first, struct bench_rng *rng)
{
    bool survives = false;
    for (size_t i = 0; i < table.part; i++) {
        if (drain_mode == RANDOM || (drain_mode == STRETCH && i % stretch == 0))
            survives = bench_below(rng, 100) < keep;
        table.dies[first + i] = !survives;
        table.order[first + i] = (uint32_t)i;
    }
    if (drain_mode == RANDOM)
        bench_shuffle(table.order + first, table.part, rng);
}

static void prepare(void)
{
    table.part = blocks / threads;
    table.count = threads * (table.part + RING);
    table.blocks = bench_array(table.count, sizeof *table.blocks);
    table.sizes = bench_array(table.count, sizeof *table.sizes);
    table.order = bench_array(table.count, sizeof *table.order);
    table.dies = bench_array(table.count, sizeof *table.dies);
    for (size_t worker = 0; worker < threads; worker++) {
        struct bench_rng rng = bench_rng_stream(seed, worker);
        decide_deaths(worker * table.part, &rng);
    }
    struct bench_rng rng = bench_rng_stream(seed, threads);
    for (size_t i = 0; i < table.count; i++)
        table.sizes[i] = (uint32_t)bench_size(&sizes, &rng);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"blocks", BENCH_COUNT, &blocks, "blocks in all", 1000, 1000000000, NULL},
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "16-255"},
        {"drain", BENCH_CHOICE, &drain_mode, "what is freed", 0, 0, "all random stretch"},
        {"keep", BENCH_COUNT, &keep, "per cent that survive", 0, 100, NULL},
        {"stretch", BENCH_COUNT, &stretch, "blocks in a stretch", 1, 1000000000, NULL},
        {"threads", BENCH_COUNT, &threads, "threads", 1, 128, NULL},
        {"settle", BENCH_SECONDS, &settle, "seconds of light work", 0, 0, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of sizes and deaths", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "a large population, most of it freed, then light work", options);

    prepare();
    pthread_t *others = bench_array(threads, sizeof *others);
    size_t *indices = bench_array(threads, sizeof *indices);
    pthread_barrier_init(&phase, NULL, (unsigned)threads);
    for (size_t i = 1; i < threads; i++) {
        indices[i] = i;
        bench_thread(&others[i], work, &indices[i]);
    }
    work(&indices[0]);
    for (size_t i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    for (size_t i = 0; i < table.count; i++)
        if (table.blocks[i] != NULL)
            release(i);
    bench_report_time(spent, 2 * threads * table.part);
    bench_report_checksum(live_bytes);
    return 0;
}
