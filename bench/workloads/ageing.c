/* SPDX-License-Identifier: MIT
 *
 * ageing: a long life in short time: a population whose size and mix of sizes change from phase to phase.
 *
 * Models a server over its days: busy hours and quiet ones, requests of another kind, a cache that fills and is
 * dropped. Most blocks die young, the rest at random, so every phase leaves survivors scattered over the memory of the
 * phases before. At the end of each phase the resident memory is set against the live bytes and the page floor: what an
 * allocator cannot reuse for the next mix stays as fragmentation. After Johnstone and Wilson, "The memory fragmentation
 * problem: solved?" (ISMM 1998) and the long-running server traces it discusses; the mixes are ours. A last phase frees
 * everything. */
#include "common.h"

enum { YOUNG = 4096, MAX_PHASES = 6, SAMPLES = 40 };

static uint64_t operations = 4000000, bytes = 100000000, threads = 1, seed = 1;

/* `share` is the population's size in per cent of --bytes. */
static struct phase {
    const char *name, *text;
    unsigned share;
    struct bench_sizes sizes;
} phases[MAX_PHASES] = {
    {"mixed", "real:8-512", 100, {0}},  {"small", "16-64", 50, {0}},    {"quiet", "real:8-512", 10, {0}},
    {"middle", "100-400", 100, {0}},    {"wide", "log:16-4096", 100, {0}}, {"end", "real:8-512", 10, {0}},
};

/* A thread's population: dense, in order of birth but for the gaps that random deaths filled from the end. */
struct population {
    void **blocks;
    uint32_t *sizes;
    size_t count, capacity;
    uint64_t live, checksum;
    struct bench_rng rng;
};

static struct population *populations;
static pthread_barrier_t barrier;
static uint64_t baseline;
static double start_time, busy;

/* A block's mark is made of its size alone, so that it can be checked wherever it has been moved in the table. */
static uint64_t tag_of(uint32_t size)
{
    return size * 0x9e3779b97f4a7c15u;
}

static void birth(struct population *population, const struct bench_sizes *sizes)
{
    if (population->count == population->capacity)
        bench_fail("the table of %zu blocks is full", population->capacity);
    uint32_t size = (uint32_t)bench_size(sizes, &population->rng);
    void *block = bench_malloc(size);
    bench_mark(block, size, tag_of(size));
    population->blocks[population->count] = block;
    population->sizes[population->count++] = size;
    population->live += size;
}

/* Four deaths in five take one of the youngest, the others anyone. */
static void death(struct population *population)
{
    uint64_t bits = bench_random(&population->rng);
    size_t range = population->count;
    size_t young = range < YOUNG ? range : YOUNG;
    bool is_young = (bits & 0xffff) < 0xffff / 5 * 4;
    size_t index = is_young ? range - 1 - bench_scale((uint32_t)(bits >> 32), (uint32_t)young)
                            : bench_scale((uint32_t)(bits >> 32), (uint32_t)range);
    uint32_t size = population->sizes[index];
    bench_check(population->blocks[index], size, tag_of(size));
    bench_free(population->blocks[index]);
    population->live -= size;
    population->checksum = population->checksum * 3 + size;
    population->count--;
    population->blocks[index] = population->blocks[population->count];
    population->sizes[index] = population->sizes[population->count];
    population->blocks[population->count] = NULL;
}

/* Moves towards the phase's target first, then churns around it. */
static void live_through(struct population *population, const struct phase *phase, bool samples)
{
    uint64_t target = bytes / threads * phase->share / 100;
    uint64_t step = operations / SAMPLES + 1;
    for (uint64_t i = 0; i < operations; i++) {
        if (population->live < target)
            birth(population, &phase->sizes);
        else
            death(population);
        if (samples && i % step == 0)
            bench_report_point("resident", bench_now() - start_time,
                               (double)bench_resident_quick() - (double)baseline);
    }
    while (population->live > target)
        death(population);
}

static void report_phase(const char *name)
{
    char label[64];
    uint64_t resident = bench_resident_exact(), live = 0;
    for (uint64_t i = 0; i < threads; i++)
        live += populations[i].live;
    size_t count = populations[0].capacity * threads;
    uint64_t floor = bench_page_floor(populations[0].blocks, populations[0].sizes, count);
    strcpy(stpcpy(label, "held:"), name);
    bench_report_count(label, resident > baseline ? resident - baseline : 0, "B");
    strcpy(stpcpy(label, "floor:"), name);
    bench_report_count(label, floor, "B");
    strcpy(stpcpy(label, "live:"), name);
    bench_report_count(label, live, "B");
}

static void *life(void *argument)
{
    struct population *population = argument;
    bool first = population == populations;
    pthread_barrier_wait(&barrier);
    if (first) {
        baseline = bench_resident_exact();
        start_time = bench_now();
    }
    for (int i = 0; i < MAX_PHASES; i++) {
        pthread_barrier_wait(&barrier);
        double start = bench_now();
        live_through(population, &phases[i], first);
        pthread_barrier_wait(&barrier);
        if (first) {
            busy += bench_now() - start;
            report_phase(phases[i].name);
        }
    }
    pthread_barrier_wait(&barrier);
    while (population->count > 0)
        death(population);
    pthread_barrier_wait(&barrier);
    if (first)
        report_phase("freed");
    return NULL;
}

/* One table for all, so that the floor can be counted over it; room for the smallest mean size at the largest share. */
static void prepare(void)
{
    size_t capacity = bytes / threads / 32 + YOUNG;
    void **blocks = bench_array(capacity * threads, sizeof *blocks);
    uint32_t *sizes = bench_array(capacity * threads, sizeof *sizes);
    for (int i = 0; i < MAX_PHASES; i++)
        bench_sizes_parse(&phases[i].sizes, phases[i].text);
    populations = bench_array(threads, sizeof *populations);
    for (uint64_t i = 0; i < threads; i++)
        populations[i] = (struct population){blocks + i * capacity, sizes + i * capacity, 0, capacity, 0, 0,
                                             bench_rng_stream(seed, i)};
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"operations", BENCH_COUNT, &operations, "births and deaths per thread and phase", 1, UINT64_MAX, NULL},
        {"bytes", BENCH_COUNT, &bytes, "live bytes of the largest phases", 1000000, UINT64_MAX / 100, NULL},
        {"threads", BENCH_COUNT, &threads, "threads, each with its share", 1, 128, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of sizes and deaths", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "a population whose size and mix of sizes change from phase to phase", options);

    prepare();
    pthread_t *others = bench_array(threads, sizeof *others);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (uint64_t i = 1; i < threads; i++)
        bench_thread(&others[i], life, &populations[i]);
    life(&populations[0]);
    uint64_t checksum = populations[0].checksum;
    for (uint64_t i = 1; i < threads; i++) {
        pthread_join(others[i], NULL);
        checksum += populations[i].checksum;
    }
    bench_report_time(busy, operations * MAX_PHASES);
    bench_report_checksum(checksum);
    return 0;
}
