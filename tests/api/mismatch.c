/* SPDX-License-Identifier: MIT
 *
 * Whatever any entry point returned is accepted by every entry point that takes a block: all pairs, at all sizes where
 * the block's origin changes, each block between two neighbours that must not notice.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/suite.h"

#include <poolmalloc.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {0,    1,    7,    8,     9,     16,    17,     24,     40,    48,   100,
                               255,  256,  500,  512,   513,   600,   1000,   1024,   1025,  1040, 2048,
                               4095, 4096, 5000, 16384, 32768, 32769, 100000, 140000, 300000};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static void
one_pair(const struct producer *producer, const struct consumer *consumer, size_t size)
{
    unsigned char *blocks[3];
    size_t usable[3];
    for (int i = 0; i < 3; i++) {
        blocks[i] = producer->get(size);
        REQUIRE(blocks[i] != NULL, "%s of %zu bytes", producer->name, size);
        usable[i] = mem.usable_size(blocks[i]);
        REQUIRE(usable[i] >= size, "%s of %zu bytes: usable %zu", producer->name, size, usable[i]);
        pattern_write(blocks[i], usable[i], size + (size_t)i);
    }
    for (int i = 0; i < 3; i++) {
        REQUIRE(mem.usable_size(blocks[i]) == usable[i], "%s of %zu bytes", producer->name, size);
        REQUIRE(pattern_holds(blocks[i], usable[i], usable[i], size + (size_t)i), "%s of %zu bytes", producer->name,
                size);
    }
    consumer->put(blocks[1], size);
    for (int i = 0; i < 3; i += 2) {
        REQUIRE(pattern_holds(blocks[i], usable[i], usable[i], size + (size_t)i), "%s of %zu, then %s", producer->name,
                size, consumer->name);
    }
    consumer->put(blocks[2], size);
    consumer->put(blocks[0], size);
}

Test(mismatch, any_block_goes_back_through_any_entry_point)
{
    struct pm_stats before;
    struct pm_stats after;
    pm_stats_get(&before);
    for (size_t p = 0; p < producer_count; p++) {
        for (size_t c = 0; c < consumer_count; c++)
            for (int s = 0; s < SIZE_COUNT; s++)
                one_pair(&producers[p], &consumers[c], sizes[s]);
    }
    pm_stats_get(&after);
    REQUIRE(after.bytes_in_use <= before.bytes_in_use + 4096, "%zu bytes in use, %zu before: some were not given back",
            after.bytes_in_use, before.bytes_in_use);
}

#ifdef TEST_STANDARD_NAMES

/* Blocks the C library allocates for its caller. */
Test(mismatch, blocks_of_the_c_library_go_back_through_any_entry_point)
{
    for (size_t c = 0; c < consumer_count; c++) {
        for (size_t size = 1; size < 3000; size = size * 2 + 5) {
            char text[3000];
            memset(text, 'x', size);
            text[size] = '\0';
            char *copy = strdup(text);
            REQUIRE(copy != NULL && strcmp(copy, text) == 0, "strdup of %zu", size);
            REQUIRE(mem.usable_size(copy) > size, "strdup of %zu: usable %zu", size, mem.usable_size(copy));
            REQUIRE(size > 500 || pm_is_pooled(copy), "strdup of %zu bytes is not from the pools", size);
            consumers[c].put(copy, size + 1);
            char *path = realpath("/", NULL);
            REQUIRE(path != NULL && strcmp(path, "/") == 0, "realpath");
            consumers[c].put(path, 2);
        }
    }
}

#endif
