/* SPDX-License-Identifier: MIT
 *
 * A program that is linked statically, against glibc or musl, to see that the pools serve it: blocks of all sizes from
 * several threads, stdio (libc's own allocations), fork, a limit on address space, and a statistics check that the pools
 * were used. Plain C and no test framework: there is none for musl.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "poolmalloc.h"

#define REQUIRE(condition)                                                             \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
            _exit(1);                                                                  \
        }                                                                              \
    } while (0)

enum { BLOCKS = 3000 };

static void *
work(void *argument)
{
    unsigned char *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = (size_t)rand_r(&seed) % (i % 100 == 0 ? 100000 : i % 3 == 0 ? 2000 : 512);
        blocks[i] = malloc(sizes[i]);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], i, sizes[i]);
    }
    for (int i = 0; i < BLOCKS; i++) {
        REQUIRE(malloc_usable_size(blocks[i]) >= sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            REQUIRE(blocks[i][k] == (unsigned char)i);
        if (i % 2 == 0) {
            blocks[i] = realloc(blocks[i], sizes[i] * 2 + 1);
            REQUIRE(blocks[i] != NULL && (sizes[i] == 0 || blocks[i][sizes[i] - 1] == (unsigned char)i));
        }
        free(blocks[i]);
    }
    return NULL;
}

static void
aligned_blocks(void)
{
    for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
        void *block = NULL;
        REQUIRE(posix_memalign(&block, alignment, 100) == 0 && (uintptr_t)block % alignment == 0);
        free(block);
        block = aligned_alloc(alignment, alignment);
        REQUIRE(block != NULL && (uintptr_t)block % alignment == 0);
        free(block);
    }
    void *volatile too_much = malloc(SIZE_MAX / 2);
    REQUIRE(too_much == NULL && errno == ENOMEM);
}

/* A program that limits its address space can map memory and start threads; the region grows as it is needed. */
static void
live_under_a_limit(void)
{
    struct rlimit limit = {(rlim_t)1 << 30, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    REQUIRE(prlimit(0, RLIMIT_AS, NULL, &limit) == 0);
    REQUIRE(limit.rlim_cur == (rlim_t)1 << 30 || getenv("TEST_EMULATED") != NULL); /* qemu-user sets no such limit */
    void *mapping = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapping != MAP_FAILED);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, work, (void *)7) == 0 && pthread_join(thread, NULL) == 0);
    enum { MANY = 200000 };
    static void *blocks[MANY];
    for (int i = 0; i < MANY; i++) {
        blocks[i] = malloc(200);
        REQUIRE(blocks[i] != NULL && pm_is_pooled(blocks[i]));
    }
    for (int i = 0; i < MANY; i++)
        free(blocks[i]);
}

int
main(void)
{
    void *small = malloc(100), *large = malloc(100000);
    REQUIRE(pm_is_pooled(small) && !pm_is_pooled(large));
    free(small);
    free(large);
    aligned_blocks();

    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);

    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        work((void *)9);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* libc's own blocks, which it must free where it got them. */
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/status", "r");
    REQUIRE(file != NULL && getline(&line, &room, file) > 0 && pm_is_pooled(line));
    free(line);
    fclose(file);

    live_under_a_limit();

    struct pm_stats stats;
    pm_stats_get(&stats);
    REQUIRE(stats.heaps_parked >= 1 && stats.pools > 0 && stats.system_allocations > 0);
    printf("ok: %zu heaps, %zu pools\n", stats.heaps, stats.pools);
    return 0;
}
