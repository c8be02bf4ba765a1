/* SPDX-License-Identifier: MIT
 *
 * threads: many short threads, each of which allocates, frees most of it and leaves the rest to others.
 *
 * Models a server with a thread per request, or a program that starts a thread for every small task. What it costs to
 * give a thread its first block and to clean up after it is what counts here, and whether blocks that outlived their
 * thread are found again. The pattern is in Larson and Krishnan's server and in the thread tests of most allocators. A
 * group of threads runs at a time; each frees what a thread of the group before left behind. */
#include "common.h"

static uint64_t total = 20000, alive = 4, blocks = 100, left = 10, seed = 1;
static struct bench_sizes sizes;

struct leftover {
    void *block;
    uint32_t size;
};

/* One place in the group: the thread in it changes, what it leaves lies here for its successor. */
struct place {
    uint64_t thread, checksum;
    struct leftover *leftovers;
    void **blocks;
    uint32_t *sizes;
};

static uint64_t tag_of(uint64_t thread, uint64_t block)
{
    return (thread << 32) + block;
}

static void take_over(struct place *place)
{
    for (uint64_t i = 0; i < left; i++) {
        struct leftover *leftover = &place->leftovers[i];
        if (leftover->block == NULL)
            continue;
        bench_check(leftover->block, leftover->size, tag_of(place->thread - alive, i));
        bench_free(leftover->block);
        leftover->block = NULL;
    }
}

static void *life(void *argument)
{
    struct place *place = argument;
    struct bench_rng rng = bench_rng_stream(seed, place->thread);
    for (uint64_t i = 0; i < blocks; i++) {
        place->sizes[i] = (uint32_t)bench_size(&sizes, &rng);
        place->blocks[i] = bench_malloc(place->sizes[i]);
        bench_mark(place->blocks[i], place->sizes[i], tag_of(place->thread, i));
        place->checksum += place->sizes[i];
    }
    take_over(place);
    for (uint64_t i = 0; i < blocks; i++) {
        if (i < left) {
            place->leftovers[i] = (struct leftover){place->blocks[i], place->sizes[i]};
            continue;
        }
        bench_check(place->blocks[i], place->sizes[i], tag_of(place->thread, i));
        bench_free(place->blocks[i]);
    }
    return NULL;
}

static double run(struct place *places)
{
    pthread_t *threads = bench_array(alive, sizeof *threads);
    double start = bench_now();
    for (uint64_t thread = 0; thread < total; thread += alive) {
        for (uint64_t i = 0; i < alive; i++) {
            places[i].thread = thread + i;
            bench_thread(&threads[i], life, &places[i]);
        }
        for (uint64_t i = 0; i < alive; i++)
            pthread_join(threads[i], NULL);
    }
    return bench_now() - start;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"threads", BENCH_COUNT, &total, "threads in all", 1, UINT32_MAX, NULL},
        {"alive", BENCH_COUNT, &alive, "threads at a time", 1, 1024, NULL},
        {"blocks", BENCH_COUNT, &blocks, "blocks per thread", 1, 10000000, NULL},
        {"left", BENCH_COUNT, &left, "blocks each leaves behind", 0, 10000000, NULL},
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "real:8-512"},
        {"seed", BENCH_COUNT, &seed, "seed of the sizes", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "many short threads that leave blocks to others", options);
    if (left > blocks)
        bench_usage_error("--left wants at most the number of --blocks");

    uint64_t checksum = 0;
    struct place *places = bench_array(alive, sizeof *places);
    for (uint64_t i = 0; i < alive; i++) {
        places[i].leftovers = bench_array(left, sizeof *places[i].leftovers);
        places[i].blocks = bench_array(blocks, sizeof(void *));
        places[i].sizes = bench_array(blocks, sizeof(uint32_t));
    }
    double seconds = run(places);
    for (uint64_t i = 0; i < alive; i++) {
        places[i].thread += alive;
        take_over(&places[i]);
        checksum += places[i].checksum;
    }
    bench_report_time(seconds, (total + alive - 1) / alive * alive);
    bench_report_checksum(checksum);
    return 0;
}
