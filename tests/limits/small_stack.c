/* SPDX-License-Identifier: MIT
 *
 * Threads with the smallest stack there is (16 KiB, of which the C library takes a part) go through every path of the
 * heap: its own frames must leave room for the program's.
 */
#include "support/check.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, BLOCKS = 2000 };

static void *handed_over[THREADS][BLOCKS];

static void *
use_heap(void *argument)
{
    void **blocks = argument;
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]); /* from the thread before: remote frees first */
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i * 7 % 1500;
        blocks[i] = i % 3 == 0 ? calloc(1, size) : malloc(size);
        REQUIRE(blocks[i] != NULL, "%zu bytes", size);
        memset(blocks[i], 1, malloc_usable_size(blocks[i]));
        if (i % 5 == 0)
            blocks[i] = realloc(blocks[i], size * 2 + 1);
    }
    for (size_t i = 0; i < BLOCKS; i += 2) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    malloc_trim(0);
    return NULL;
}

int
main(void)
{
    pthread_attr_t smallest;
    pthread_attr_init(&smallest);
    REQUIRE(pthread_attr_setstacksize(&smallest, (size_t)PTHREAD_STACK_MIN) == 0, "no stacks of %zu bytes",
            (size_t)PTHREAD_STACK_MIN);
    for (int round = 0; round < 5; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], &smallest, use_heap, handed_over[(i + round) % THREADS]) == 0,
                    "no thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    return 0;
}
