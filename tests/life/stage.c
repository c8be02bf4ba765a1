/* SPDX-License-Identifier: MIT
 *
 * Using the heap at every stage: see stage.h.
 */
#include "stage.h"

#include "support/blocks.h"
#include "support/check.h"

#include <poolmalloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 200 };

static unsigned char *left[BLOCKS]; /* by the stage before */

/* 0..1185 bytes: all classes, blocks of the system that are kept, and some that are not. */
static size_t
size_of(size_t i)
{
    return i * 6 - i % 9;
}

void
stage(const char *name)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = size_of(i + 9);
        REQUIRE(left[i] == NULL || pattern_holds(left[i], size, size, i), "%s: block %zu", name, i);
        unsigned char *next = calloc(1, size);
        REQUIRE(next != NULL && all_zero(next, size), "%s: calloc of %zu bytes", name, size);
        pattern_write(next, size, i);
        left[i] = i % 4 == 0 ? realloc(left[i], size + 300) : left[i];
        free(left[i]);
        left[i] = next;
    }
    size_t length = strlen(name);
    REQUIRE(write(STDOUT_FILENO, name, length) == (ssize_t)length && write(STDOUT_FILENO, "\n", 1) == 1, "%s", name);
}

void
require_pools_in_use(void)
{
    void *blocks[] = {malloc(24), calloc(3, 50), realloc(NULL, 400), strdup("a string of the C library's")};
    for (int i = 0; i < 4; i++) {
        REQUIRE(pm_is_pooled(blocks[i]), "block %d is not from the pools", i);
        free(blocks[i]);
    }
    void *large = malloc(5000);
    REQUIRE(large != NULL && !pm_is_pooled(large), "a large block is from the pools");
    free(large);
}
