/* SPDX-License-Identifier: MIT
 *
 * realloc and reallocarray: contents across every boundary, blocks that may stay where they are, blocks given back.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/suite.h"

#include <poolmalloc.h>
#include <stdint.h>
#include <string.h>

/* Both sides of each boundary: between classes, pools and system blocks, kept and plain system blocks, heap and
 * mapping. */
static const size_t sizes[] = {1,     7,     8,      9,      15,     16,     17,     24,   31,    32,    33,
                               48,    63,    64,     65,     127,    128,    129,    255,  256,   257,   496,
                               497,   511,   512,    513,    528,    600,    1000,   1008, 1023,  1024,  1025,
                               1040,  1041,  2047,   2048,   4095,   4096,   4097,   8192, 16384, 16385, 32768,
                               32769, 65536, 131071, 131072, 131073, 200000, 1 << 20};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* `block` holds the pattern in its first `size` bytes. Changes its size, checks, and gives it back. */
static void
change(const char *how, unsigned char *block, size_t size, size_t to, uint64_t seed)
{
    pattern_write(block, size, seed);
    unsigned char *moved = to % 2 == 0 ? mem.realloc(block, to) : mem.reallocarray(block, to, 1);
    REQUIRE(moved != NULL, "%s: %zu to %zu", how, size, to);
    REQUIRE((uintptr_t)moved % test_alignment_of(to) == 0, "%s: %zu to %zu gave %p", how, size, to, (void *)moved);
    REQUIRE(mem.usable_size(moved) >= to, "%s: %zu to %zu: usable %zu", how, size, to, mem.usable_size(moved));
    REQUIRE(pattern_holds(moved, size, smaller(size, to), seed), "%s: %zu to %zu lost contents", how, size, to);
    pattern_write(moved, mem.usable_size(moved), ~seed);
    mem.free(moved);
}

Test(realloc, contents_are_kept_across_every_boundary)
{
    for (size_t p = 0; p < producer_count; p++) {
        for (int from = 0; from < SIZE_COUNT; from++) {
            for (int to = 0; to < SIZE_COUNT; to++) {
                change(producers[p].name, producers[p].get(sizes[from]), sizes[from], sizes[to],
                       (uint64_t)(from * SIZE_COUNT + to));
            }
        }
    }
}

Test(realloc, contents_are_kept_for_every_small_size)
{
    for (size_t from = 0; from <= 1100; from += 3)
        for (size_t to = 1; to <= 1100; to += 7)
            change("malloc", mem.malloc(from), from, to, from * 2000 + to);
}

/* The whole usable size is the caller's, so what stands past the requested size is kept as well. */
Test(realloc, the_usable_size_is_kept)
{
    for (size_t from = 1; from <= 2000; from += 3) {
        unsigned char *block = mem.malloc(from);
        size_t usable = mem.usable_size(block);
        change("malloc, whole block", block, usable, usable + 1, from);
    }
}

Test(realloc, a_block_grows_and_shrinks_step_by_step)
{
    unsigned char *block = mem.malloc(1);
    pattern_write(block, 1, 5);
    for (size_t size = 1; size < 3000; size++) {
        block = mem.realloc(block, size + 1);
        REQUIRE(pattern_holds(block, size, size, 5), "lost at %zu", size);
        pattern_write(block, size + 1, 5);
    }
    for (size_t size = 3000; size > 1; size--) {
        block = mem.realloc(block, size - 1);
        REQUIRE(pattern_holds(block, size - 1, size - 1, 5), "lost at %zu", size);
    }
    mem.free(block);
}

Test(realloc, a_block_stays_in_place_while_its_class_stays_the_same)
{
    for (size_t from = 1; from <= 512; from++) {
        for (size_t to = 1; to <= 512; to++) {
            if (test_class_of(from) == test_class_of(to)) {
                void *block = mem.malloc(from);
                uintptr_t before = (uintptr_t)block;
                block = mem.realloc(block, to);
                REQUIRE((uintptr_t)block == before, "realloc of %zu to %zu moved the block", from, to);
                mem.free(block);
            }
        }
    }
}

/* A node of 24 bytes taken with 8-byte alignment may stand at an odd multiple of 8: realloc owes malloc's alignment. */
Test(realloc, the_result_is_aligned_whatever_the_block_was)
{
    enum { COUNT = 50 };
    for (size_t from = 8; from <= 512; from += 8) {
        for (size_t to = from - 7; to <= from; to++) {
            for (int i = 0; i < COUNT; i++)
                change("malloc8", mem.malloc8(from), from, to, from);
            void *blocks[COUNT];
            for (int i = 0; i < COUNT; i++) {
                blocks[i] = mem.malloc8(from);
                pattern_write(blocks[i], from, (uint64_t)i);
            }
            for (int i = 0; i < COUNT; i++)
                change("malloc8, many", blocks[i], from, to, (uint64_t)i);
        }
    }
}

Test(realloc, of_null_is_malloc)
{
    for (size_t size = 0; size <= 1200; size++) {
        void *block = mem.realloc(NULL, size);
        void *array = mem.reallocarray(NULL, 1, size);
        REQUIRE(block != NULL && array != NULL && block != array, "%zu bytes", size);
        if (size <= 512) {
            REQUIRE(mem.usable_size(block) == test_class_of(size), "%zu: %zu", size, mem.usable_size(block));
            REQUIRE(mem.usable_size(array) == test_class_of(size), "%zu: %zu", size, mem.usable_size(array));
        }
        mem.free(block);
        mem.free(array);
    }
}

Test(realloc, to_zero_bytes_frees_the_block)
{
    struct pm_stats before;
    struct pm_stats after;
    size_t resident = 0;
    pm_stats_get(&before);
    for (int round = 0; round < 200000; round++) {
        if (round == 20000)
            resident = resident_bytes();
        size_t size = (size_t)round * 97 % 1200;
        void *block = mem.malloc(size);
        memset(block, 1, size);
        void *result = round % 3 == 0   ? mem.realloc(block, 0)
                       : round % 3 == 1 ? mem.reallocarray(block, 0, 100)
                                        : mem.reallocarray(block, 100, 0);
        REQUIRE(result == NULL, "round %d returned %p", round, result);
    }
    require_growth_below(resident, 4 << 20, "blocks that realloc(p, 0) frees");
    pm_stats_get(&after);
    REQUIRE(after.bytes_in_use <= before.bytes_in_use + 4096, "%zu bytes in use, %zu before", after.bytes_in_use,
            before.bytes_in_use);
}

Test(realloc, moving_gives_the_old_block_back)
{
    size_t resident = 0;
    for (int round = 0; round < 3000; round++) {
        if (round == 300)
            resident = resident_bytes();
        void *block = mem.malloc(1);
        for (size_t size = 10; size < 100000; size = size * 3 / 2) {
            block = mem.realloc(block, size);
            memset(block, 1, size);
        }
        for (size_t size = 90000; size > 10; size = size * 2 / 3)
            block = mem.realloc(block, size);
        mem.free(block);
    }
    require_growth_below(resident, 8 << 20, "blocks that realloc moved");
}
