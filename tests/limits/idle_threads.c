/* SPDX-License-Identifier: MIT
 *
 * `idle_threads <threads> <blocks> <most>`: each thread allocates so many blocks of 16 to 255 bytes, frees them in
 * random order, and sleeps. What the process holds then is at most `most` KiB for each thread: a thread that has
 * stopped allocating keeps the pages of what waits in its magazines, and nobody else can reach that.
 */
#include "support/check.h"
#include "support/measure.h"
#include "support/random.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 256, BLOCKS_MAX = 1 << 20 };

static void *blocks[BLOCKS_MAX];
static size_t threads, blocks_each;
static uint64_t seed;
static pthread_barrier_t phase;

static void *
work(void *number)
{
    size_t thread = (size_t)(uintptr_t)number;
    void **own = blocks + thread * blocks_each;
    struct random random = {seed + thread};
    char stack[16384];
    memset(stack, 1, sizeof stack); /* the stack is not what is measured */
    __asm__ volatile("" : : "r"(stack) : "memory");
    pthread_barrier_wait(&phase);
    pthread_barrier_wait(&phase);
    for (size_t i = 0; i < blocks_each; i++) {
        size_t size = (size_t)random_between(&random, 16, 255);
        own[i] = malloc(size);
        REQUIRE(own[i] != NULL, "no memory");
        memset(own[i], 1, size);
        size_t victim = (size_t)random_below(&random, i + 1); /* shuffles, so that the order of frees is random */
        void *block = own[i];
        own[i] = own[victim];
        own[victim] = block;
    }
    for (size_t i = 0; i < blocks_each; i++)
        free(own[i]);
    pthread_barrier_wait(&phase);
    pthread_barrier_wait(&phase); /* the first thread measures meanwhile */
    return NULL;
}

int
main(int count, char **arguments)
{
    pthread_t ids[THREADS_MAX];
    REQUIRE(count == 4, "usage: idle_threads <threads> <blocks> <most>");
    threads = strtoul(arguments[1], NULL, 10);
    blocks_each = strtoul(arguments[2], NULL, 10);
    size_t most = strtoul(arguments[3], NULL, 10) << 10;
    REQUIRE(threads >= 1 && threads <= THREADS_MAX && threads * blocks_each <= BLOCKS_MAX, "too many");
    seed = test_seed("idle_threads");
    memset(blocks, 1, threads * blocks_each * sizeof(void *));
    pthread_barrier_init(&phase, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++)
        REQUIRE(pthread_create(&ids[i], NULL, work, (void *)i) == 0, "no thread");
    pthread_barrier_wait(&phase);
    size_t before = resident_bytes();
    pthread_barrier_wait(&phase);
    pthread_barrier_wait(&phase);
    size_t held = resident_bytes() - before;
    pthread_barrier_wait(&phase);
    for (size_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("%zu KiB held by %zu threads, %zu bytes each\n", held >> 10, threads, held / threads);
    REQUIRE(held / threads <= most, "%zu bytes for each of %zu threads, at most %zu are allowed", held / threads,
            threads, most);
    return 0;
}
