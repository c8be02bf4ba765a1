/* SPDX-License-Identifier: MIT
 *
 * usage: canary overflow|division|race
 *
 * Makes the library do something wrong that the sanitizer has to find: in its own code, so that it is known to be built
 * with the sanitizer, and in a child, which must fail and say why.
 */
#include "heap.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "system.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads a header in front of a block that has none. */
static void
overflow(void)
{
    char *block = malloc(64);
    printf("%zu\n", pm_map_usable_size(block + 40)); /* the field lies 8 bytes in front */
    free(block);
}

/* Divides by the block size of a page that has no blocks: the descriptors'. */
static void
division(void)
{
    void *block = pm_malloc(8);
    printf("%p\n", pm_pool_block_of((void *)pm_arena_of(block)));
}

static void *
refill(void *heap)
{
    for (int i = 0; i < 1000; i++)
        pm_magazine_refill(heap, 4);
    return NULL;
}

/* Two threads use the magazines of one heap. */
static void
race(void)
{
    pthread_t thread;
    struct pm_heap *heap = pm_process_heap();
    REQUIRE(pthread_create(&thread, NULL, refill, heap) == 0, "no thread");
    refill(heap);
    pthread_join(thread, NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
    const char *found, *where;
} cases[] = {
    {"overflow", overflow, "AddressSanitizer: heap-buffer-overflow", "system_map.c"},
    {"division", division, "runtime error: division by zero", "pool.c"},
    {"race", race, "ThreadSanitizer: data race", "heap.c"},
};

/* What the child writes to stderr, as far as it fits; its status is returned. */
static int
run_in_child(void (*run)(void), char *text, size_t size)
{
    int ends[2], status;
    fflush(NULL);
    REQUIRE(pipe(ends) == 0, "no pipe");
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        run();
        exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    char rest[4096];
    for (ssize_t got; (got = read(ends[0], rest, sizeof rest)) > 0;)
        for (ssize_t i = 0; i < got && used < size - 1; i++)
            text[used++] = rest[i];
    text[used] = '\0';
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
    return status;
}

int
main(int argc, char **argv)
{
    static char text[1 << 16];
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(argv[1], cases[i].name) != 0)
            continue;
        int status = run_in_child(cases[i].run, text, sizeof text);
        bool found = strstr(text, cases[i].found) != NULL && strstr(text, cases[i].where) != NULL;
        fprintf(stderr, "%s: status %x, %s\n%s", argv[1], status, found ? "found" : "not found", found ? "" : text);
        return status != 0 && found ? 0 : 1;
    }
    fprintf(stderr, "usage: canary overflow|division|race\n");
    return 2;
}
