/* SPDX-License-Identifier: MIT
 *
 * The geometry: sizes of region, arena, pool, block and descriptor, and the arithmetic between addresses and them.
 * Constants and pure functions only, no state. Layer 0: uses nothing.
 *
 * Each base constant stands here once; the others follow from it, and the static assertions at the end say how the
 * geometry closes: 64 pools in an arena, 64 descriptors of 64 bytes in its first pool, one 64-bit map of free pools,
 * one cache line of the page map, 64 size classes.
 */
#ifndef PM_GEOMETRY_H
#define PM_GEOMETRY_H

#include <stddef.h>
#include <stdint.h>

/* ---- Base constants ---- */

#define PM_GRANULE_SHIFT 3            /* size classes are 8 bytes apart */
#define PM_POOL_SHIFT 12              /* 4 KiB, a page: the unit the kernel takes back */
#define PM_ARENA_SHIFT 18             /* 256 KiB */
#define PM_CHUNK_SHIFT 24             /* 16 MiB: the unit in which the region is made accessible */
#define PM_SMALL_MAX ((size_t)512)    /* the largest block of the pools */
#define PM_MALLOC_ALIGNMENT ((size_t)16) /* what the ABIs of x86-64 and arm64 ask of malloc */
#define PM_CACHE_LINE ((size_t)64)
#define PM_REGION_ALIGNMENT ((size_t)2 << 20) /* a huge page */
#define PM_REGION_MAX ((size_t)1 << 40)       /* 1 TiB */
#define PM_REGION_MIN ((size_t)16 << 20)      /* 16 MiB, below that the pools are not worth it */

/* ---- Derived ---- */

#define PM_GRANULE ((size_t)1 << PM_GRANULE_SHIFT)               /* 8 */
#define PM_POOL_SIZE ((size_t)1 << PM_POOL_SHIFT)                /* 4096 */
#define PM_ARENA_SIZE ((size_t)1 << PM_ARENA_SHIFT)              /* 262144 */
#define PM_CHUNK_SIZE ((size_t)1 << PM_CHUNK_SHIFT)              /* 16777216 */
#define PM_ARENA_POOLS ((unsigned)(PM_ARENA_SIZE / PM_POOL_SIZE)) /* 64, the first of them holds the descriptors */
#define PM_CHUNK_ARENAS ((unsigned)(PM_CHUNK_SIZE / PM_ARENA_SIZE)) /* 64 */
#define PM_CHUNK_MAX ((unsigned)(PM_REGION_MAX / PM_CHUNK_SIZE)) /* 65536 */
#define PM_DESCRIPTOR_SIZE (PM_POOL_SIZE / PM_ARENA_POOLS)       /* 64 */

/* A size class is named by its block size in granules: class 3 has blocks of 24 bytes. 0 is "no class". */
#define PM_CLASS_LAST ((unsigned)(PM_SMALL_MAX / PM_GRANULE)) /* 64 */
#define PM_BLOCKS_MAX ((unsigned)(PM_POOL_SIZE / PM_GRANULE)) /* 512, in a pool of class 1 */

/* Descriptors have room for the map of 256 blocks. The pools of class 1 have more: their maps fill a pool of their own,
 * one for each arena that has such pools, 64 bytes for each of its 64 pools. */
#define PM_CLASS_WIDE 1u
#define PM_POOL_MAP_WORDS 4u
#define PM_WIDE_MAP_WORDS (PM_BLOCKS_MAX / 64)

_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "poolmalloc is written for 64-bit machines");
_Static_assert(PM_ARENA_POOLS == 64, "the map of free pools is one 64-bit word");
_Static_assert(PM_CHUNK_ARENAS == 64, "the map of free arenas is one 64-bit word for each chunk");
_Static_assert(PM_DESCRIPTOR_SIZE == PM_CACHE_LINE, "a descriptor is a cache line");
_Static_assert(PM_ARENA_POOLS * PM_DESCRIPTOR_SIZE == PM_POOL_SIZE, "the descriptors fill the arena's first pool");
_Static_assert(PM_CLASS_LAST == 64, "64 size classes");
_Static_assert(PM_POOL_SIZE / PM_MALLOC_ALIGNMENT == PM_POOL_MAP_WORDS * 64, "a descriptor maps every class but one");
_Static_assert(PM_ARENA_POOLS * PM_WIDE_MAP_WORDS * 8 == PM_POOL_SIZE, "the wide maps of an arena fill a pool");
_Static_assert(PM_CHUNK_SIZE / PM_POOL_SIZE == PM_POOL_SIZE, "the page map of a chunk is a page");

static inline size_t
pm_round_up(size_t value, size_t power_of_two)
{
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static inline int
pm_is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline size_t
pm_class_size(unsigned class)
{
    return (size_t)class << PM_GRANULE_SHIFT;
}

static inline unsigned
pm_class_blocks(unsigned class)
{
    return (unsigned)(PM_POOL_SIZE / pm_class_size(class));
}

/* The class that serves `size` at `alignment` (a power of two, at least 8), or 0 when none does. A block lies at a
 * multiple of its size from a page's start, so it is aligned when its size is a multiple of the alignment. */
static inline unsigned
pm_class_of(size_t size, size_t alignment)
{
    if (size > PM_SMALL_MAX || alignment > PM_SMALL_MAX)
        return 0;
    size_t rounded = pm_round_up(size ? size : 1, alignment);
    return rounded <= PM_SMALL_MAX ? (unsigned)(rounded >> PM_GRANULE_SHIFT) : 0;
}

/* The class of malloc(size): C17 asks for alignment only as far as an object of that size can need it, so up to 8 bytes
 * are served from the 8-byte class. */
static inline unsigned
pm_class_of_malloc(size_t size, size_t alignment)
{
    return pm_class_of(size, size <= PM_GRANULE ? PM_GRANULE : alignment);
}

/* Multiplying by the reciprocal, rounded up, divides exactly: a quotient of granule / class has a fraction of at most
 * 1 - 1/64, and the rounding adds less than 512 / 2^20. */
#define PM_RECIPROCAL_SHIFT 20

static inline uint32_t
pm_class_reciprocal(unsigned class)
{
    return ((UINT32_C(1) << PM_RECIPROCAL_SHIFT) + class - 1) / class;
}

/* Which block of its pool the byte `offset` bytes into the pool belongs to. */
static inline unsigned
pm_block_index(uint32_t reciprocal, size_t offset)
{
    return ((uint32_t)(offset >> PM_GRANULE_SHIFT) * reciprocal) >> PM_RECIPROCAL_SHIFT;
}

/* A run of set bits in a map of pools or arenas. */
struct pm_run {
    unsigned first, count;
};

static inline uint64_t
pm_run_bits(struct pm_run run)
{
    return (~UINT64_C(0) >> (64 - run.count)) << run.first;
}

/* The lowest run in `bits`, which is not 0. */
static inline struct pm_run
pm_first_run(uint64_t bits)
{
    unsigned first = (unsigned)__builtin_ctzll(bits);
    uint64_t behind = ~(bits >> first);
    return (struct pm_run){first, behind != 0 ? (unsigned)__builtin_ctzll(behind) : 64};
}

static inline uintptr_t
pm_pool_of(const void *address)
{
    return (uintptr_t)address & ~(uintptr_t)(PM_POOL_SIZE - 1);
}

static inline uintptr_t
pm_arena_of(const void *address)
{
    return (uintptr_t)address & ~(uintptr_t)(PM_ARENA_SIZE - 1);
}

#endif
