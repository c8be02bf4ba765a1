/* SPDX-License-Identifier: MIT
 *
 * pool.h: taking and returning blocks in every class, against a model with one flag for each block; the lowest address
 * first; what assigning and unassigning change in the arena and the page map; and the wide maps of class 1.
 * pool_faults.c has what goes wrong.
 */
#include "pool.h"

#include "region.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

enum { ROUNDS = 100, WIDE_POOLS = 62, MAPS_AT = 63 };

static struct pm_arena *arena;
static char *blocks_of_pool;
static size_t block_size;
static bool is_free[PM_BLOCKS_MAX];
static void *batch[PM_BLOCKS_MAX + 2];

static void
make_arena(void)
{
    fresh_region(PM_REGION_MIN);
    arena = (struct pm_arena *)pm_region_take_arena(false).address;
    pm_arena_init(arena, NULL, false, false);
}

/* A pool of `class` whose blocks the model knows as free. */
static struct pm_pool *
assign(unsigned index, unsigned class)
{
    if (class == PM_CLASS_WIDE && arena->wide_maps == 0)
        pm_pool_assign_wide_maps(arena, MAPS_AT);
    struct pm_pool *pool = pm_pool_assign(arena, index, class);
    blocks_of_pool = pm_arena_pool(arena, index);
    block_size = class * 8;
    memset(is_free, 1, sizeof is_free);
    return pool;
}

static size_t
free_in_model(const struct pm_pool *pool)
{
    size_t count = 0;
    for (unsigned i = 0; i < pool->block_count; i++)
        count += is_free[i];
    return count;
}

/* Takes `wanted` blocks: they must be the lowest free ones, stored downwards, and nothing else may be written. */
static void
take(struct pm_pool *pool, unsigned wanted)
{
    size_t there = free_in_model(pool), expected = there < wanted ? there : wanted, at = 0;
    void **end = batch + 1 + wanted;
    memset(batch, 0xee, sizeof batch);
    void *const untouched = batch[0];
    unsigned taken = pm_pool_take(pool, end, wanted);
    REQUIRE(taken == expected, "class %u: took %u of %zu, %u wanted", pool->class, taken, there, wanted);
    for (unsigned i = 0; at < taken; i++) {
        if (!is_free[i])
            continue;
        at++;
        REQUIRE(end[-(ptrdiff_t)at] == blocks_of_pool + i * block_size, "class %u: entry %zu is not block %u",
                pool->class, at, i);
        is_free[i] = false;
    }
    REQUIRE(*end == untouched && end[-(ptrdiff_t)taken - 1] == untouched, "class %u: wrote beside the batch",
            pool->class);
    REQUIRE(pool->free_count == there - taken, "class %u: %u free", pool->class, pool->free_count);
    pm_pool_verify(pool);
}

static void
give(struct pm_pool *pool, unsigned index)
{
    enum pm_fault fault = return_block(pool, blocks_of_pool + index * block_size);
    REQUIRE(fault == PM_FAULT_NONE, "class %u, block %u: fault %d", pool->class, index, fault);
    is_free[index] = true;
    REQUIRE(pool->free_count == free_in_model(pool), "class %u: %u free", pool->class, pool->free_count);
}

Test(pool, every_class_against_the_model, .init = make_arena)
{
    struct random random = {test_seed("pool")};
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_pool *pool = assign(class % 62 + 1, class);
        take(pool, 0);
        for (int round = 0; round < ROUNDS; round++) {
            take(pool, (unsigned)random_below(&random, pool->block_count + 1));
            for (uint64_t gives = random_below(&random, pool->block_count); gives > 0; gives--) {
                unsigned index = (unsigned)random_below(&random, pool->block_count);
                if (!is_free[index])
                    give(pool, index);
            }
        }
        take(pool, PM_BLOCKS_MAX);
        REQUIRE(pool->free_count == 0, "class %u: %u free", class, pool->free_count);
        for (unsigned i = pool->block_count; i-- > 0;)
            give(pool, i);
        take(pool, PM_BLOCKS_MAX);
    }
}

/* Blocks are written to the last byte: neither the descriptors nor the maps lie under them. */
Test(pool, blocks_are_the_program_s_alone, .init = make_arena)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_pool *pool = assign(1, class);
        unsigned count = pm_pool_take(pool, batch + PM_BLOCKS_MAX, PM_BLOCKS_MAX);
        REQUIRE(count == pm_class_blocks(class), "class %u: %u blocks", class, count);
        memset(is_free, 0, sizeof is_free);
        for (unsigned i = 0; i < count; i++)
            memset(batch[PM_BLOCKS_MAX - 1 - i], 0xff, block_size);
        pm_pool_verify(pool);
        for (unsigned i = 0; i < count; i++)
            give(pool, i);
        pm_pool_unassign(pool);
    }
}

Test(pool, assigning_and_unassigning, .init = make_arena)
{
    struct random random = {test_seed("assigning")};
    unsigned classes[PM_ARENA_POOLS] = {0}, assigned = 0;
    uint64_t dirty = 0;
    for (int round = 0; round < 2000; round++) {
        unsigned index = 1 + (unsigned)random_below(&random, 63);
        if (classes[index] == 0) {
            classes[index] = 2 + (unsigned)random_below(&random, 63);
            struct pm_pool *pool = pm_pool_assign(arena, index, classes[index]);
            REQUIRE(pm_pool_index(pool) == index && pool->next == NULL && pool->previous == NULL, "pool %u", index);
            dirty |= pm_arena_bit(index);
            assigned++;
        } else {
            pm_pool_unassign(pm_pool_at(pm_arena_pool(arena, index)));
            classes[index] = 0;
            assigned--;
        }
        REQUIRE(arena->assigned == assigned && arena->dirty_pools == dirty, "%u assigned", arena->assigned);
        REQUIRE(arena->free_pools == PM_ARENA_ALL_POOLS, "the map of free pools is the caller's");
        for (unsigned i = 0; i < PM_ARENA_POOLS; i++)
            REQUIRE(*pm_region_page(pm_arena_pool(arena, i)) == classes[i], "the page map of pool %u", i);
    }
}

Test(pool, block_of_finds_the_block_of_every_byte, .init = make_arena)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_pool *pool = assign(5, class);
        for (size_t offset = 0; offset < pool->block_count * block_size; offset++)
            REQUIRE(pm_pool_block_of(blocks_of_pool + offset) == blocks_of_pool + offset / block_size * block_size,
                    "class %u, offset %zu", class, offset);
        pm_pool_unassign(pool);
    }
}

/* ---- Wide maps ---- */

/* All pools of an arena have class 1; each has a pattern of its own, so maps that overlap change each other. */
Test(pool, wide_maps_of_an_arena_lie_apart, .init = make_arena)
{
    struct pm_pool *pools[WIDE_POOLS + 1];
    pm_pool_assign_wide_maps(arena, MAPS_AT);
    REQUIRE(arena->wide_maps == MAPS_AT && arena->assigned == 1, "pool %u, %u assigned", arena->wide_maps,
            arena->assigned);
    REQUIRE(arena->dirty_pools == pm_arena_bit(MAPS_AT), "the pool of the maps is not dirty");
    REQUIRE(*pm_region_page(pm_arena_pool(arena, MAPS_AT)) == 0, "the pool of the maps has a class");
    for (unsigned i = 1; i <= WIDE_POOLS; i++) {
        pools[i] = pm_pool_assign(arena, i, PM_CLASS_WIDE);
        REQUIRE(arena->wide_pools == i && pools[i]->block_count == 512, "%u pools", arena->wide_pools);
        REQUIRE(pm_pool_take(pools[i], batch + 512, 512) == 512, "pool %u", i);
    }
    for (unsigned i = 1; i <= WIDE_POOLS; i++)
        for (unsigned block = i % 7; block < 512; block += i)
            REQUIRE(return_block(pools[i], pm_arena_pool(arena, i) + 8 * block) == PM_FAULT_NONE, "pool %u", i);
    for (unsigned i = 1; i <= WIDE_POOLS; i++) {
        pm_pool_verify(pools[i]);
        for (unsigned block = 0; block < 512; block++) {
            bool returned = block >= i % 7 && (block - i % 7) % i == 0;
            enum pm_fault fault = pm_pool_check(pm_arena_pool(arena, i) + 8 * block);
            REQUIRE(fault == (returned ? PM_FAULT_FREE : PM_FAULT_NONE), "pool %u, block %u: %d", i, block, fault);
        }
    }
    for (unsigned i = 1; i <= WIDE_POOLS; i++)
        pm_pool_unassign(pools[i]);
    REQUIRE(arena->wide_pools == 0 && arena->assigned == 1, "%u pools, %u assigned", arena->wide_pools,
            arena->assigned);
}

/* ---- Batches ---- */

/* Only the blocks at the front that are of the pool, and none from the first faulty one on. */
Test(pool, a_batch_stops_at_another_pool_and_at_a_fault, .init = make_arena)
{
    static void *batch[PM_BLOCKS_MAX], *mixed[PM_BLOCKS_MAX];
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_pool *pool = assign(1, class);
        unsigned count = pool->block_count;
        enum pm_fault fault = PM_FAULT_NONE;
        REQUIRE(pm_pool_take(pool, batch + count, count) == count, "class %u: not full", class);
        for (unsigned stop = 1; stop < count; stop += 1 + count / 5) {
            memcpy(mixed, batch, count * sizeof(void *));
            mixed[stop] = pm_arena_pool(arena, 2);
            REQUIRE(pm_pool_return(pool, mixed, count, &fault) == stop && fault == PM_FAULT_NONE,
                    "class %u: not %u blocks of this pool", class, stop);
            REQUIRE(pool->free_count == stop, "class %u: %u free", class, pool->free_count);
            mixed[stop] = mixed[0];
            REQUIRE(pm_pool_return(pool, mixed + stop, count - stop, &fault) == 0 && fault == PM_FAULT_FREE,
                    "class %u: returned twice", class);
            mixed[stop - 1] = batch[stop];
            fault = PM_FAULT_NONE;
            REQUIRE(pm_pool_return(pool, mixed + stop - 1, 2, &fault) == 1 && fault == PM_FAULT_FREE,
                    "class %u: not one block before the fault", class);
            fault = PM_FAULT_NONE;
            pm_pool_verify(pool);
            REQUIRE(pm_pool_take(pool, mixed + stop + 1, stop + 1) == stop + 1, "class %u: not full again", class);
        }
        REQUIRE(pm_pool_return(pool, batch, count, &fault) == count, "class %u: not all", class);
        pm_pool_verify(pool);
        pm_pool_unassign(pool);
    }
}
