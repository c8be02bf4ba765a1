/* SPDX-License-Identifier: MIT
 *
 * pool.h: every wrong pointer into a pool of every class is recognised for what it is and changes nothing; and
 * pm_pool_verify recognises every broken field of a descriptor.
 */
#include "pool.h"

#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>

static struct pm_arena *arena;
static struct pm_pool *pool;
static char *blocks;

static void
make_arena(void)
{
    fresh_region(PM_REGION_MIN);
    arena = (struct pm_arena *)pm_region_take_arena(false).address;
    pm_arena_init(arena, NULL, false, false);
}

static void
make_pool(unsigned class)
{
    if (class == PM_CLASS_WIDE)
        pm_pool_assign_wide_maps(arena, 1);
    pool = pm_pool_assign(arena, 2, class);
    blocks = pm_pool_blocks(pool);
}

static void
make_pool_of_24_bytes(void)
{
    make_arena();
    make_pool(3);
}

/* ---- Wrong pointers ---- */

/* What is wrong with the address `offset` bytes into a pool that has handed out its first `taken` blocks. */
static enum pm_fault
expected_fault(size_t offset, unsigned taken)
{
    size_t size = pool->class * 8u;
    if (offset / size >= 4096 / size)
        return PM_FAULT_REMAINDER;
    if (offset % size != 0)
        return PM_FAULT_INSIDE;
    return offset / size >= taken ? PM_FAULT_FREE : PM_FAULT_NONE;
}

/* Every byte of the pool, with half of its blocks in use. */
static void
try_every_byte(unsigned class)
{
    static void *batch[PM_BLOCKS_MAX];
    make_pool(class);
    unsigned taken = (pool->block_count + 1u) / 2;
    pm_pool_take(pool, batch + taken, taken);
    for (size_t offset = 0; offset < 4096; offset++) {
        enum pm_fault expected = expected_fault(offset, taken), fault = pm_pool_check(blocks + offset);
        REQUIRE(fault == expected, "class %u, offset %zu: check finds %d instead of %d", class, offset, fault,
                expected);
        if (expected == PM_FAULT_NONE)
            continue;
        struct pm_pool before = *pool;
        fault = return_block(pool, blocks + offset);
        REQUIRE(fault == expected, "class %u, offset %zu: return finds %d instead of %d", class, offset, fault,
                expected);
        REQUIRE(memcmp(&before, pool, sizeof before) == 0, "class %u, offset %zu: a fault changed the pool", class,
                offset);
    }
    for (unsigned i = 0; i < taken; i++) {
        REQUIRE(return_block(pool, batch[i]) == PM_FAULT_NONE, "class %u, block %u", class, i);
        REQUIRE(return_block(pool, batch[i]) == PM_FAULT_FREE, "class %u, block %u: returned twice", class, i);
    }
    pm_pool_verify(pool);
    pm_pool_unassign(pool);
    REQUIRE(pm_pool_check(blocks) == PM_FAULT_POOL_FREE, "class %u: a pool without a class", class);
}

Test(pool_faults, every_byte_of_every_class, .init = make_arena)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        try_every_byte(class);
}

Test(pool_faults, tables_and_free_pools_hold_no_blocks, .init = make_arena)
{
    make_pool(PM_CLASS_WIDE);
    for (size_t offset = 0; offset < PM_ARENA_SIZE; offset += 8) {
        enum pm_fault expected = offset / 4096 == 2 ? PM_FAULT_FREE : PM_FAULT_POOL_FREE;
        REQUIRE(pm_pool_check((char *)arena + offset) == expected, "offset %zu", offset);
    }
}

/* ---- Broken descriptors ---- */

static void
verify(void *unused)
{
    (void)unused;
    pm_pool_verify(pool);
}

Test(pool_faults, verify_finds_a_wrong_count_of_blocks, .init = make_pool_of_24_bytes)
{
    pool->block_count--;
    require_bug(verify, NULL, "a pool's count of blocks is not that of its class");
}

Test(pool_faults, verify_finds_a_wrong_count_of_free_blocks, .init = make_pool_of_24_bytes)
{
    pool->free_count--;
    require_bug(verify, NULL, "a pool's count of free blocks is not that of its map");
}

Test(pool_faults, verify_finds_a_flipped_bit, .init = make_pool_of_24_bytes)
{
    pool->map[1] ^= 1u << 5;
    require_bug(verify, NULL, "a pool's count of free blocks is not that of its map");
}

Test(pool_faults, verify_finds_a_flipped_bit_in_a_wide_map, .init = make_arena)
{
    make_pool(PM_CLASS_WIDE);
    pm_pool_verify(pool);
    ((uint64_t *)pm_arena_pool(arena, 1))[2 * PM_WIDE_MAP_WORDS + 7] ^= UINT64_C(1) << 63;
    require_bug(verify, NULL, "a pool's count of free blocks is not that of its map");
}

Test(pool_faults, verify_finds_blocks_behind_the_last, .init = make_arena)
{
    for (unsigned class = 2; class <= PM_CLASS_LAST; class++) {
        make_pool(class);
        unsigned behind = pool->block_count;
        if (behind < 64 * PM_POOL_MAP_WORDS) {
            pool->map[behind / 64] |= UINT64_C(1) << (behind % 64);
            require_bug(verify, NULL, "a pool has free blocks behind its last one");
        }
        pm_pool_unassign(pool);
    }
}

Test(pool_faults, verify_finds_no_class, .init = make_pool_of_24_bytes)
{
    pool->class = 0;
    pool->block_count = 512;
    require_bug(verify, NULL, "a pool has no class");
}

Test(pool_faults, verify_finds_a_class_behind_the_last, .init = make_pool_of_24_bytes)
{
    pool->class = 65;
    pool->block_count = 4096 / (65 * 8);
    require_bug(verify, NULL, "a pool has no class");
}

Test(pool_faults, verify_finds_another_class_in_the_page_map, .init = make_pool_of_24_bytes)
{
    *pm_region_page(blocks) = 4;
    require_bug(verify, NULL, "the page map and a pool's descriptor name different classes");
}

Test(pool_faults, verify_finds_a_wrong_reciprocal, .init = make_pool_of_24_bytes)
{
    pool->reciprocal++;
    require_bug(verify, NULL, "a pool's reciprocal is not that of its class");
}
