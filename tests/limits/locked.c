/* SPDX-License-Identifier: MIT
 *
 * `locked current|future`: a program that locks all of its memory (mlockall(2)). It keeps the memory, as it has asked
 * for, works as others do, and the statistics say what is so; when it unlocks the memory, that goes back again. Where the
 * user may not lock so much the test is skipped, with exit status 77.
 */
#include "support/check.h"
#include "support/measure.h"

#include <malloc.h>
#include <poolmalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCKS = 400000, SIZE = 100, KEPT = 50, BYTES = BLOCKS * 112 };

static unsigned char *blocks[BLOCKS];

static void
take(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i] == NULL) {
            blocks[i] = malloc(SIZE);
            REQUIRE(blocks[i] != NULL, "no memory");
            memset(blocks[i], (int)i, SIZE);
        }
}

/* Stretches, of which most are freed. */
static void
give(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        REQUIRE(blocks[i][0] == (unsigned char)i && blocks[i][SIZE - 1] == (unsigned char)i, "block %zu changed", i);
        if (i / 2000 % KEPT != 0) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    }
}

/* Bytes that the statistics say are free and still held. */
static size_t
known_dirty(void)
{
    struct pm_stats stats;
    pm_stats_get(&stats);
    return (stats.pools_free_dirty + stats.arenas_free_dirty * 64) * 4096;
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "locked current|future");
    int flags = strcmp(arguments[1], "future") == 0 ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT;
    take();
    if (mlockall(flags) != 0) {
        perror("skipped: mlockall");
        return 77;
    }
    size_t before = resident_bytes();
    for (int wave = 0; wave < 3; wave++) {
        give();
        malloc_trim(0);
        REQUIRE(resident_bytes() >= before - (1 << 20), "locked memory went: %zu KiB of %zu", resident_bytes() >> 10,
                before >> 10);
        REQUIRE(known_dirty() >= BYTES / 10 * 9, "only %zu KiB are said to be kept", known_dirty() >> 10);
        take();
    }
    give();
    REQUIRE(munlockall() == 0, "munlockall");
    malloc_trim(0);
    REQUIRE(resident_bytes() < before - BYTES / 10 * 8, "%zu KiB of %zu are still held", resident_bytes() >> 10,
            before >> 10);
    REQUIRE(known_dirty() < 1 << 20, "%zu KiB are said to be kept", known_dirty() >> 10);
    take();
    give();
    return 0;
}
