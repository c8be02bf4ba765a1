/* SPDX-License-Identifier: MIT
 *
 * A program that lowers its own limit on address space while it runs, below what the region has reserved. It must go
 * on: what the region does not use is given up when the system allocator fails. The argument says which requests come
 * first.
 */
#include "support/check.h"
#include "support/measure.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LIMIT = 400 << 20, ENOUGH = 100 << 20, LARGE = 1 << 20, SMALL = 200 };

struct block {
    struct block *next;
};

/* Takes blocks of `size` until there are `total` bytes; fails when there are none before. */
static struct block *
take(size_t size, size_t total)
{
    struct block *list = NULL;
    for (size_t taken = 0; taken < total; taken += size) {
        struct block *block = malloc(size);
        REQUIRE(block != NULL, "blocks of %zu bytes end after %zu KiB: %s", size, taken >> 10, strerror(errno));
        memset(block, 0x5a, size);
        block->next = list;
        list = block;
    }
    return list;
}

static void
give(struct block *list)
{
    while (list != NULL) {
        struct block *next = list->next;
        free(list);
        list = next;
    }
}

static struct block *
take_all(size_t size)
{
    struct block *list = NULL;
    struct block *block;
    errno = 0;
    while ((block = malloc(size)) != NULL) {
        memset(block, 0x5a, size);
        block->next = list;
        list = block;
    }
    REQUIRE(errno == ENOMEM, "errno %d", errno);
    return list;
}

/* A second thread allocates meanwhile: the region shrinks under it. */
static atomic_int stop;

static void *
churn(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        void *blocks[200];
        for (size_t i = 0; i < 200; i++)
            blocks[i] = malloc(i * 4);
        for (size_t i = 0; i < 200; i++) {
            REQUIRE(blocks[i] == NULL || malloc_usable_size(blocks[i]) >= i * 4, "block %zu", i);
            free(blocks[i]);
        }
    }
    return NULL;
}

int
main(int count, char **arguments)
{
    int small_first = count == 2 && strcmp(arguments[1], "small") == 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, churn, NULL) == 0, "no thread");
    struct block *before = take(SMALL, 4 << 20);
    struct rlimit limit = {LIMIT, LIMIT};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");

    struct block *first = take(small_first ? SMALL : LARGE, ENOUGH);
    struct block *second = take(small_first ? LARGE : SMALL, ENOUGH);
    give(before);
    give(first);
    give(second);
    for (int round = 0; round < 2; round++) {
        give(take_all(round == 0 ? LARGE : SMALL));
        give(take(SMALL, 20 << 20));
        give(take(LARGE, 20 << 20));
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    REQUIRE(address_space_bytes() < LIMIT + (16 << 20), "%zu KiB of address space", address_space_bytes() >> 10);
    return 0;
}
