/* SPDX-License-Identifier: MIT
 *
 * replace: slots whose blocks are replaced at random, by threads that are replaced themselves.
 *
 * Models a server: each thread holds a population of objects of mixed age, at every step one of them dies and another
 * is born; from time to time the thread hands its whole population to a new thread and exits, so that blocks outlive
 * the thread that made them and are freed by another. After Larson and Krishnan, "Memory allocation for long-running
 * server applications" (ISMM 1998), whose sizes were uniform; --sizes takes other distributions, --generations 1 leaves
 * the threads in place. */
#include "common.h"

#include <semaphore.h>

static uint64_t slots = 5000, operations = 5000000, threads = 2, generations = 10, seed = 1;
static struct bench_sizes sizes;

struct slot {
    unsigned char *block;
    uint32_t size;
    uint32_t birth; /* the step in which the block was made, part of its mark */
};

/* One population and the chain of threads that work on it, one after the other. */
struct lineage {
    struct slot *slots;
    struct bench_rng rng;
    uint64_t index, generation, checksum;
    uint32_t step;
    sem_t *done;
};

static uint64_t tag_of(const struct lineage *lineage, size_t slot, uint32_t birth)
{
    return (lineage->index << 56) ^ ((uint64_t)birth << 24) ^ slot ^ ((uint64_t)birth << 57);
}

static inline void replace(struct lineage *lineage, size_t index, uint32_t size_bits)
{
    struct slot *slot = &lineage->slots[index];
    if (slot->block != NULL) {
        bench_check(slot->block, slot->size, tag_of(lineage, index, slot->birth));
        bench_free(slot->block);
    }
    slot->size = (uint32_t)bench_size_of(&sizes, size_bits);
    slot->birth = lineage->step++;
    slot->block = bench_malloc(slot->size);
    bench_mark(slot->block, slot->size, tag_of(lineage, index, slot->birth));
    lineage->checksum += slot->size;
}

static void *one_generation(void *argument)
{
    struct lineage *lineage = argument;
    for (uint64_t i = 0; i < operations / generations; i++) {
        uint64_t bits = bench_random(&lineage->rng);
        replace(lineage, bench_scale((uint32_t)(bits >> 32), (uint32_t)slots), (uint32_t)bits);
    }
    if (++lineage->generation < generations)
        bench_thread(NULL, one_generation, lineage);
    else
        sem_post(lineage->done);
    return NULL;
}

/* The first thread of each lineage fills its slots, then starts the chain of generations and waits for its end. */
static void run(void *argument)
{
    struct lineage *lineage = argument;
    sem_t done;
    sem_init(&done, 0, 0);
    lineage->done = &done;
    for (uint64_t i = 0; i < slots; i++)
        replace(lineage, i, (uint32_t)bench_random(&lineage->rng));
    one_generation(lineage);
    while (sem_wait(&done) != 0) {
    }
    sem_destroy(&done);
    for (uint64_t i = 0; i < slots; i++) {
        bench_check(lineage->slots[i].block, lineage->slots[i].size, tag_of(lineage, i, lineage->slots[i].birth));
        bench_free(lineage->slots[i].block);
    }
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "8-500"},
        {"slots", BENCH_COUNT, &slots, "live blocks per thread", 1, UINT32_MAX, NULL},
        {"operations", BENCH_COUNT, &operations, "replacements per thread", 1, UINT32_MAX, NULL},
        {"threads", BENCH_COUNT, &threads, "threads at a time", 1, 128, NULL},
        {"generations", BENCH_COUNT, &generations, "threads that follow each other on a population", 1, 1000000, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of slots and sizes", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "slots replaced at random by threads that are replaced themselves", options);

    struct lineage *lineages = bench_array(threads, sizeof *lineages);
    for (uint64_t i = 0; i < threads; i++) {
        lineages[i].index = i;
        lineages[i].rng = bench_rng_stream(seed, i);
        lineages[i].slots = bench_array(slots, sizeof *lineages[i].slots);
    }
    double seconds = bench_parallel(threads, run, lineages, sizeof *lineages);
    uint64_t checksum = 0;
    for (uint64_t i = 0; i < threads; i++)
        checksum += lineages[i].checksum;
    bench_report_time(seconds, operations);
    bench_report_checksum(checksum);
    return 0;
}
