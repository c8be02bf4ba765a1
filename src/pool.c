/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <string.h>

#include "region.h"

static unsigned
words_of(const struct pm_pool *pool)
{
    return pool->class == PM_CLASS_WIDE ? PM_WIDE_MAP_WORDS : PM_POOL_MAP_WORDS;
}

static uint64_t
read_word(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

struct pm_pool *
pm_pool_assign(struct pm_arena *arena, unsigned index, unsigned class)
{
    struct pm_pool *pool = (struct pm_pool *)((char *)arena + index * PM_DESCRIPTOR_SIZE);
    unsigned blocks = pm_class_blocks(class);
    pool->next = pool->previous = NULL;
    pool->class = (uint8_t)class;
    pool->reciprocal = pm_class_reciprocal(class);
    pool->free_count = pool->block_count = (uint16_t)blocks;
    uint64_t *map = pm_pool_map(pool);
    for (unsigned word = 0; word < words_of(pool); word++) {
        unsigned rest = blocks > 64 * word ? blocks - 64 * word : 0;
        pm_pool_write_word(&map[word], rest >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << rest) - 1);
    }
    pm_arena_use(arena, index);
    arena->wide_pools += class == PM_CLASS_WIDE;
    *pm_region_page(pm_arena_pool(arena, index)) = (uint8_t)class;
    return pool;
}

void
pm_pool_unassign(struct pm_pool *pool)
{
    struct pm_arena *arena = pm_arena_at(pool);
    *pm_region_page(pm_pool_blocks(pool)) = 0;
    arena->assigned--;
    arena->wide_pools -= pool->class == PM_CLASS_WIDE;
}

void
pm_pool_assign_wide_maps(struct pm_arena *arena, unsigned index)
{
    arena->wide_maps = (uint8_t)index;
    pm_arena_use(arena, index);
}

unsigned
pm_pool_take(struct pm_pool *pool, void **end, unsigned wanted)
{
    unsigned words = words_of(pool), taken = 0;
    uint64_t *map = pm_pool_map(pool);
    char *blocks = pm_pool_blocks(pool);
    size_t size = pm_class_size(pool->class);
    for (unsigned word = 0; word < words; word++) {
        uint64_t bits = map[word];
        char *base = blocks + (size_t)word * 64 * size;
        for (; bits != 0 && taken < wanted; bits &= bits - 1)
            end[-(ptrdiff_t)++taken] = base + (size_t)__builtin_ctzll(bits) * size;
        pm_pool_write_word(&map[word], bits);
        if (taken == wanted)
            break;
    }
    pool->free_count = (uint16_t)(pool->free_count - taken);
    return taken;
}

void *
pm_pool_block_of(const void *pointer)
{
    size_t size = pm_class_size(*pm_region_page(pointer));
    size_t offset = (uintptr_t)pointer % PM_POOL_SIZE;
    return (char *)pointer - offset % size;
}

enum pm_fault
pm_pool_check(const void *pointer)
{
    unsigned class = *pm_region_page(pointer);
    if (class == 0)
        return PM_FAULT_POOL_FREE;
    const struct pm_pool *pool = pm_pool_at(pointer);
    size_t offset = (uintptr_t)pointer % PM_POOL_SIZE;
    unsigned index = pm_block_index(pool->reciprocal, offset);
    if (index >= pool->block_count)
        return PM_FAULT_REMAINDER;
    if (index * pm_class_size(class) != offset)
        return PM_FAULT_INSIDE;
    const uint64_t *map = pm_pool_map(pool);
    return read_word(&map[index / 64]) >> (index % 64) & 1 ? PM_FAULT_FREE : PM_FAULT_NONE;
}

_Noreturn void
pm_pool_report_fault(const char *call, const void *block, enum pm_fault fault, enum pm_found found)
{
    if (fault == PM_FAULT_INSIDE)
        pm_report_fault(call, block, fault, found, pm_pool_block_of(block), pm_class_size(*pm_region_page(block)));
    pm_report_fault(call, block, fault, found, NULL, 0);
}

void
pm_pool_verify(const struct pm_pool *pool)
{
    unsigned count = 0;
    if (pool->block_count != pm_class_blocks(pool->class ? pool->class : 1))
        pm_report_bug("a pool's count of blocks is not that of its class");
    if (pool->class == 0 || pool->class > PM_CLASS_LAST)
        pm_report_bug("a pool has no class");
    const uint64_t *map = pm_pool_map(pool);
    unsigned blocks = pm_class_blocks(pool->class);
    for (unsigned word = 0; word < words_of(pool); word++) {
        count += (unsigned)__builtin_popcountll(map[word]);
        if (blocks < 64 * (word + 1) && map[word] >> (blocks > 64 * word ? blocks - 64 * word : 0))
            pm_report_bug("a pool has free blocks behind its last one");
    }
    if (count != pool->free_count)
        pm_report_bug("a pool's count of free blocks is not that of its map");
    if (*pm_region_page(pm_pool_blocks(pool)) != pool->class)
        pm_report_bug("the page map and a pool's descriptor name different classes");
    if (pool->reciprocal != pm_class_reciprocal(pool->class))
        pm_report_bug("a pool's reciprocal is not that of its class");
}
