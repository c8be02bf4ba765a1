/* SPDX-License-Identifier: MIT
 *
 * `after_burst stretches|all <threads>`: many small blocks are allocated; nine in ten of them are freed, in stretches
 * of 200 neighbours, or all of them, each thread's by the next one; then the threads do light work. Nobody asks for
 * memory to be given back. What the process holds must come close to the pages with blocks in use.
 */
#include "support/check.h"
#include "support/measure.h"
#include "support/random.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All blocks; the light work is RING blocks of each thread, STEP of which are replaced in each of TICKS ms. */
enum { BLOCKS = 300000, STRETCH = 200, KEEP_ONE_IN = 10, THREADS_MAX = 8, RING = 256, STEP = 16, TICKS = 400 };
enum { PAGE = 4096, ROUNDS_MAX = 150 }; /* of light work: a minute */

static void *blocks[BLOCKS];
static uint8_t sizes[BLOCKS];
static void *rings[THREADS_MAX][RING];
static uintptr_t pages[2 * BLOCKS + 2 * THREADS_MAX * RING];
static size_t threads;
static int free_all, enough;
static pthread_barrier_t phase;

static void
allocate(size_t thread)
{
    size_t part = BLOCKS / threads;
    for (size_t i = thread * part; i < (thread + 1) * part; i++) {
        blocks[i] = malloc(sizes[i]);
        REQUIRE(blocks[i] != NULL, "no memory");
        memset(blocks[i], sizes[i], sizes[i]);
    }
}

static int
survives(size_t i)
{
    return !free_all && i / STRETCH % KEEP_ONE_IN == 0;
}

static void
free_most(size_t owner)
{
    size_t part = BLOCKS / threads;
    for (size_t i = owner * part; i < (owner + 1) * part; i++)
        if (!survives(i)) {
            const uint8_t *bytes = blocks[i];
            REQUIRE(bytes[0] == sizes[i] && bytes[sizes[i] - 1] == sizes[i], "block %zu was overwritten", i);
            free(blocks[i]);
            blocks[i] = NULL;
        }
}

static void
light_work(size_t thread)
{
    void **ring = rings[thread];
    for (size_t tick = 0; tick < TICKS; tick++) {
        for (size_t i = 0; i < STEP; i++) {
            size_t at = (tick * STEP + i) % RING, size = 16 + (tick * 7 + i * 31) % 240;
            free(ring[at]);
            ring[at] = malloc(size);
            REQUIRE(ring[at] != NULL, "no memory");
            memset(ring[at], 1, size);
        }
        usleep(1000);
    }
}

static void *
work(void *number)
{
    size_t thread = (size_t)(uintptr_t)number;
    allocate(thread);
    pthread_barrier_wait(&phase);
    pthread_barrier_wait(&phase); /* the first thread measures meanwhile, here and at the end */
    free_most((thread + 1) % threads);
    pthread_barrier_wait(&phase);
    while (!enough) {
        light_work(thread);
        pthread_barrier_wait(&phase);
        pthread_barrier_wait(&phase); /* `enough` is decided meanwhile */
    }
    return NULL;
}

static int
compare(const void *left, const void *right)
{
    uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
    return (a > b) - (a < b);
}

static size_t
note_pages(size_t count, const void *block, size_t size)
{
    if (block == NULL)
        return count;
    pages[count++] = (uintptr_t)block / PAGE;
    pages[count++] = ((uintptr_t)block + size - 1) / PAGE;
    return count;
}

/* The pages in which a block in use lies. Sorted in place: qsort allocates. */
static size_t
page_floor(void)
{
    size_t count = 0, different = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        count = note_pages(count, blocks[i], sizes[i]);
    for (size_t thread = 0; thread < threads; thread++)
        for (size_t i = 0; i < RING; i++)
            count = note_pages(count, rings[thread][i], 1);
    qsort(pages, count, sizeof pages[0], compare);
    for (size_t i = 0; i < count; i++)
        different += i == 0 || pages[i] != pages[i - 1];
    return different * PAGE;
}

int
main(int count, char **arguments)
{
    pthread_t others[THREADS_MAX];
    REQUIRE(count == 3, "usage: after_burst stretches|all <threads>");
    free_all = strcmp(arguments[1], "all") == 0;
    threads = strtoul(arguments[2], NULL, 10);
    REQUIRE(threads >= 1 && threads <= THREADS_MAX && BLOCKS % threads == 0, "%zu threads", threads);
    struct random random = {test_seed("after_burst")};
    for (size_t i = 0; i < BLOCKS; i++)
        sizes[i] = (uint8_t)random_between(&random, 16, 255);
    memset(blocks, 1, sizeof blocks);
    memset(rings, 0, sizeof rings);
    memset(pages, 1, sizeof pages);
    pthread_barrier_init(&phase, NULL, (unsigned)threads);
    size_t before = resident_bytes();
    for (size_t i = 1; i < threads; i++)
        REQUIRE(pthread_create(&others[i], NULL, work, (void *)i) == 0, "no thread");
    allocate(0);
    pthread_barrier_wait(&phase);
    size_t full = resident_bytes() - before;
    pthread_barrier_wait(&phase);
    free_most(1 % threads);
    pthread_barrier_wait(&phase);
    REQUIRE(full > (size_t)BLOCKS * 100, "%zu bytes are not so many blocks", full);
    for (int round = 1; !enough; round++) {
        light_work(0);
        pthread_barrier_wait(&phase);
        size_t held = resident_bytes() - before, floor = page_floor();
        printf("%zu KiB with all blocks, %zu KiB afterwards, page floor %zu KiB\n", full >> 10, held >> 10, floor >> 10);
        enough = TEST_SANITIZED || held <= floor + floor / 10 * 3 + ((size_t)4 << 20);
        REQUIRE(enough || round < ROUNDS_MAX, "%zu KiB for a page floor of %zu KiB", held >> 10, floor >> 10);
        pthread_barrier_wait(&phase);
    }
    for (size_t i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    return 0;
}
