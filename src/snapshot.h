/* SPDX-License-Identifier: MIT
 *
 * A snapshot: what a heap holds, gathered by reading its memory through a function, without a lock and without the
 * help of the process that owns it. The same code serves the process itself, also in a signal handler, another
 * process, and a core file.
 *
 * The memory may change while it is read. Therefore arenas are found through the region's maps, each of them once, and
 * not over lists; a pool's free blocks are counted in the copied map; and whatever is derived is bounded by what it is
 * part of. Always, in every row: blocks in use + in magazines + free = the pools' capacity; the pools of an arena in
 * all states are 64. Nothing is allocated: the caller gives the room. Layer 4: uses root.h and what it includes.
 */
#ifndef PM_SNAPSHOT_H
#define PM_SNAPSHOT_H

#include "root.h"

struct pm_reader {
    /* Copies `size` bytes at `address`; false when they cannot be read. */
    bool (*read)(void *context, uintptr_t address, void *buffer, size_t size);
    /* Which of the 64 pages of 4 KiB from `address` on, a multiple of 4 KiB, are in memory: bit i for the i-th. False
     * when nobody knows. NULL for a core file. */
    bool (*resident)(void *context, uintptr_t address, uint64_t *pages);
    void *context;
};

/* A page of an arena is in one of these states. */
enum pm_pool_state {
    PM_POOL_DESCRIPTORS, /* the first of each arena */
    PM_POOL_MAPS,        /* the maps of the arena's pools of class 1 */
    PM_POOL_ASSIGNED,    /* it has blocks */
    PM_POOL_RESERVED,    /* for a class, not used yet */
    PM_POOL_FREE_DIRTY,  /* free, not given back to the kernel */
    PM_POOL_FREE,        /* free, the kernel has its memory */
    PM_POOL_STATES
};

/* A pool, for a map of the heap. A block that waits in a magazine counts as taken here: pools do not know. */
struct pm_pool_row {
    uint8_t state; /* enum pm_pool_state */
    uint8_t class; /* 0 when it has no blocks */
    bool dirty;    /* used since the kernel last had its memory */
    bool resident; /* in memory, if the reader knows; else as `dirty` */
    uint16_t blocks, free;
};

struct pm_arena_row {
    uintptr_t address, heap;
    uint8_t pools[PM_POOL_STATES]; /* 64 in all */
    uint8_t resident[PM_POOL_STATES];
    uint32_t free_bytes, taken_bytes; /* of blocks; taken: in use or in a magazine */
};

struct pm_class_row {
    size_t block_bytes, pools;
    size_t blocks_in_use, blocks_magazine, blocks_free; /* the capacity of the pools together */
    size_t resident_pools, resident_free;               /* pools in memory, and the free blocks in these */
    struct pm_class_counts counts;
    uint64_t requests, requested_bytes; /* in the checking mode */
};

struct pm_heap_row {
    uintptr_t address;
    bool parked;
    size_t arenas, pools; /* pools with blocks */
    size_t magazine_blocks, magazine_bytes;
    size_t system_magazine_blocks, system_magazine_bytes;
    uint64_t system_allocations, system_bytes;
    size_t table_bytes;    /* of the heap itself and its magazines, as far as they are used */
    size_t resident_bytes; /* of its mapping */
};

/* Scratch space of the reading. */
struct pm_snapshot_work {
    _Alignas(PM_CACHE_LINE) unsigned char heap[sizeof(struct pm_heap)];
    _Alignas(PM_CACHE_LINE) unsigned char descriptors[PM_POOL_SIZE];
    uint64_t wide_maps[PM_POOL_SIZE / 8];
    uint8_t page_map[PM_POOL_SIZE]; /* of a chunk */
};

struct pm_snapshot {
    /* The caller sets these four; the rows have room for as many. */
    struct pm_arena_row *arena_rows;
    size_t arena_room;
    struct pm_heap_row *heap_rows;
    size_t heap_room;

    char version[16];
    size_t alignment, check;
    struct pm_region region;
    struct pm_region_counts counts; /* of the region, as it keeps them; the rows may be a moment younger */
    size_t arenas, heaps, heaps_parked;
    bool incomplete;       /* there was more than room */
    bool residence_known;
    size_t page_map_resident_bytes;
    size_t free_arenas_dirty, free_arenas_resident_bytes;
    struct pm_class_row classes[PM_CLASS_LAST + 1]; /* from 1 on */

    struct pm_snapshot_work work;
};

enum pm_snapshot_result {
    PM_SNAPSHOT_TAKEN,
    PM_SNAPSHOT_UNREADABLE, /* the root, or what it points to, cannot be read */
    PM_SNAPSHOT_NO_ROOT,    /* there is something else */
    PM_SNAPSHOT_OTHER       /* a library of another version or layout; `version` says which */
};

/* Reads and checks the root; stores the version if there is one. */
enum pm_snapshot_result pm_snapshot_root(const struct pm_reader *reader, uintptr_t address, struct pm_root *root);

/* How many arenas and heaps there can be now, for the room; arenas can become more until the snapshot is taken. */
enum pm_snapshot_result pm_snapshot_measure(const struct pm_reader *reader, uintptr_t root_address, size_t *arenas,
                                            size_t *heaps);

enum pm_snapshot_result pm_snapshot_take(const struct pm_reader *reader, uintptr_t root_address,
                                         struct pm_snapshot *snapshot);

/* The 64 pools of one arena, after a snapshot was taken: rows[0] is the descriptors'. False when the arena is not
 * there any more. */
bool pm_snapshot_pools(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t arena,
                       struct pm_pool_row rows[PM_ARENA_POOLS]);

/* ---- Totals: sums over the rows, and nothing else ---- */

struct pm_sums {
    size_t pools[PM_POOL_STATES];                                    /* of the arenas */
    size_t live_bytes, magazine_bytes, free_bytes, remainder_bytes; /* of the classes: their pools' memory together */
    struct pm_class_counts counts;
    uint64_t rounding_bytes; /* in the checking mode */
    uint64_t system_allocations, system_bytes; /* of the heaps */
    size_t system_magazine_blocks, system_magazine_bytes;
    size_t heap_table_bytes;
    size_t arena_table_bytes; /* a page of descriptors and 64 bytes of the page map for each arena */
};

void pm_snapshot_sum(const struct pm_snapshot *snapshot, struct pm_sums *sums);

/* What the blocks of a class had more than was asked for when they were allocated, all of them so far; known in the
 * checking mode, else 0. */
static inline uint64_t
pm_snapshot_rounding(const struct pm_class_row *row)
{
    uint64_t given = row->requests * row->block_bytes;
    return given > row->requested_bytes ? given - row->requested_bytes : 0;
}

#endif
