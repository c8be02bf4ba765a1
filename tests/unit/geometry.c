/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of geometry.h, in full: every offset of every class, every size at every alignment, and that the
 * descriptors, maps and pools of an arena fill the places the header gives them.
 */
#include "geometry.h"

#include "arena.h"
#include "pool.h"
#include "support/check.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* The definition that pm_class_of computes: the smallest size class that holds the block and whose blocks are all
 * aligned, found by looking. */
static unsigned
naive_class(size_t size, size_t alignment)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        bool aligned = true;
        for (size_t block = 0; block + class * 8 <= 4096; block += class * 8)
            aligned &= block % alignment == 0;
        if (aligned && class * 8 >= size)
            return class;
    }
    return 0;
}

Test(geometry, block_index_is_exact_division)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        for (size_t offset = 0; offset < PM_POOL_SIZE; offset++) {
            unsigned index = pm_block_index(pm_class_reciprocal(class), offset);
            REQUIRE(index == offset / (class * 8), "class %u, offset %zu: block %u", class, offset, index);
        }
}

Test(geometry, every_size_at_every_alignment_has_the_smallest_class_that_fits)
{
    for (size_t alignment = 8; alignment <= 512; alignment *= 2)
        for (size_t size = 0; size <= 600; size++) {
            unsigned class = pm_class_of(size, alignment);
            REQUIRE(class == naive_class(size, alignment), "size %zu, alignment %zu: class %u", size, alignment, class);
        }
}

Test(geometry, what_is_too_large_has_no_class)
{
    for (size_t alignment = 8; alignment != 0; alignment *= 2) {
        REQUIRE(pm_class_of(513, alignment) == 0, "alignment %zu", alignment);
        REQUIRE(pm_class_of(SIZE_MAX, alignment) == 0, "alignment %zu", alignment);
        REQUIRE(pm_class_of(1, alignment) == (alignment <= 512 ? alignment / 8 : 0), "alignment %zu", alignment);
    }
}

Test(geometry, malloc_keeps_to_its_alignment_above_a_granule)
{
    for (size_t size = 0; size <= 600; size++) {
        unsigned wide = pm_class_of_malloc(size, 16), compact = pm_class_of_malloc(size, 8);
        unsigned granules = (unsigned)(size + 7) / 8;
        granules = granules == 0 ? 1 : granules;
        unsigned even = granules == 1 ? 1 : granules + granules % 2;
        REQUIRE(compact == (size <= 512 ? granules : 0), "size %zu: class %u in compact mode", size, compact);
        REQUIRE(wide == (size <= 512 ? even : 0), "size %zu: class %u", size, wide);
    }
}

Test(geometry, blocks_fill_the_pool)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        size_t size = pm_class_size(class), blocks = pm_class_blocks(class);
        REQUIRE(size == class * 8, "class %u has blocks of %zu bytes", class, size);
        REQUIRE(blocks * size <= 4096 && (blocks + 1) * size > 4096, "class %u has %zu blocks", class, blocks);
        REQUIRE(class == PM_CLASS_WIDE || blocks <= 64 * PM_POOL_MAP_WORDS, "class %u has %zu blocks", class, blocks);
    }
    REQUIRE(pm_class_blocks(PM_CLASS_WIDE) == 64 * PM_WIDE_MAP_WORDS, "the wide maps have another size");
}

Test(geometry, descriptors_and_pools_of_an_arena_find_each_other)
{
    char *memory = aligned_alloc(PM_ARENA_SIZE, PM_ARENA_SIZE);
    struct pm_arena *arena = (struct pm_arena *)memory;
    for (size_t offset = 0; offset < PM_ARENA_SIZE; offset += 8) {
        size_t index = offset / 4096;
        struct pm_pool *pool = pm_pool_at(memory + offset);
        REQUIRE((char *)pool == memory + 64 * index, "the descriptor of pool %zu lies elsewhere", index);
        REQUIRE(pm_arena_at(memory + offset) == arena && pm_arena_at(pool) == arena, "offset %zu", offset);
        REQUIRE(pm_pool_of(memory + offset) == (uintptr_t)memory + 4096 * index, "offset %zu", offset);
        REQUIRE(pm_pool_index(pool) == index, "pool %zu has number %u", index, pm_pool_index(pool));
        REQUIRE(pm_pool_blocks(pool) == memory + 4096 * index, "the blocks of pool %zu lie elsewhere", index);
        REQUIRE(pm_arena_pool(arena, (unsigned)index) == memory + 4096 * index, "pool %zu", index);
    }
    REQUIRE((char *)pm_pool_at(memory + PM_ARENA_SIZE - 1) + 64 == memory + 4096, "descriptors and pools overlap");
    REQUIRE((PM_ARENA_ALL_POOLS ^ pm_arena_bit(0)) == UINT64_MAX, "63 pools and the descriptors are not the arena");
    free(memory);
}

/* Every run, alone and with another one above it. */
Test(geometry, runs_of_bits)
{
    for (unsigned first = 0; first < 64; first++)
        for (unsigned count = 1; first + count <= 64; count++) {
            uint64_t bits = 0;
            for (unsigned i = first; i < first + count; i++)
                bits |= UINT64_C(1) << i;
            struct pm_run run = pm_first_run(bits);
            REQUIRE(run.first == first && run.count == count, "%u from %u: %u from %u", count, first, run.count,
                    run.first);
            REQUIRE(pm_run_bits(run) == bits, "%u from %u: %llx", count, first, (unsigned long long)pm_run_bits(run));
            if (first + count < 63)
                run = pm_first_run(bits | UINT64_C(1) << 63);
            REQUIRE(run.first == first && run.count == count, "%u from %u: %u from %u", count, first, run.count,
                    run.first);
        }
}

Test(geometry, rounding)
{
    for (size_t power = 1; power <= 4096; power *= 2)
        for (size_t value = 0; value <= 10000; value++) {
            size_t rounded = pm_round_up(value, power);
            REQUIRE(rounded % power == 0 && rounded >= value && rounded < value + power, "%zu to %zu: %zu", value,
                    power, rounded);
        }
    size_t powers = 0;
    for (size_t value = 0; value <= 4096; value++)
        powers += (size_t)pm_is_power_of_two(value);
    REQUIRE(powers == 13, "%zu powers of two up to 4096", powers);
    for (unsigned shift = 0; shift < 64; shift++)
        REQUIRE(pm_is_power_of_two((size_t)1 << shift), "2^%u", shift);
}
