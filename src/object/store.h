/* SPDX-License-Identifier: MIT
 *
 * Where objects lie: the one file that knows the allocator's geometry. Layer 1 of src/object; uses the region, of
 * which the library has one of its own, and what stands below it.
 *
 * A heap takes whole arenas from the region, for tracked or for acyclic objects, and divides them as the allocator
 * does: 64 descriptors of 64 bytes in the first page, a page of blocks of one size for each other one. Free blocks
 * are bits in descriptors, and entries of magazines. A pool has one kind: tracked or acyclic, with or without room
 * for an item count, aligned to 8 or 16. Objects above 512 bytes are blocks of malloc, listed in a table of the heap.
 *
 * A heap numbers its arenas (slots), so that tables over its objects are dense: an object is the granule of 16 bytes
 * where its payload begins, and no two objects share one.
 *
 * A pool whose blocks are all free keeps its size until po_store_trim, so that old entries of the young logs, which
 * point to blocks that died, point to headers of 0 at least.
 */
#ifndef PO_STORE_H
#define PO_STORE_H

#include "../geometry.h"
#include "../region.h"
#include "object.h"

#pragma GCC visibility push(hidden)

enum { PO_KIND_ACYCLIC = 1, PO_KIND_ITEMS = 2, PO_KIND_ALIGN_16 = 4 };

#define PO_GRANULES 256u            /* of a pool */
#define PO_SLOT_SHIFT 14            /* granules of an arena: 16384 */
#define PO_BLOCK_MAX PM_SMALL_MAX

struct po_arena {
    uint64_t free_pools, dirty_pools; /* bits of pools; dirty: the kernel may hold memory for it */
    po_heap *heap;
    struct po_arena *next, *previous; /* open arenas of its kind: with free pools */
    uint32_t slot;
    uint16_t assigned;
    bool acyclic, open, huge;
    bool mixed;                       /* objects of other heaps may be in it; its pools keep their geometry */
    uint32_t guests;                  /* other heaps that have a slot for it */
};

struct po_pool {
    struct po_pool *next, *previous;
    uint64_t map[4]; /* bit i: block i is free, and not in the magazine */
    uint32_t reciprocal;
    uint16_t free_count, block_count;
    uint16_t start; /* offset of the first object */
    uint8_t units;  /* block size / 8; 0: not assigned */
    uint8_t kind;
};

_Static_assert(sizeof(struct po_arena) <= PM_DESCRIPTOR_SIZE, "an arena has one descriptor");
_Static_assert(sizeof(struct po_pool) <= PM_DESCRIPTOR_SIZE, "a pool has one descriptor");

/* In front of a large object's item count and header. */
struct po_large {
    uint32_t index;
    uint32_t frozen; /* 1: it is */
    void *next_dying;
    uint64_t items;
    struct po_header header;
};

_Static_assert(sizeof(struct po_large) == 32, "large objects are aligned to 16");

/* For each arena of the region. */
struct po_place {
    po_heap *heap;
    uint32_t slot;
    bool acyclic;
};

extern struct po_place *po_places;
extern uintptr_t po_base;
extern size_t po_place_count;

/* Once for the process; false: no memory. */
bool po_store_start(void);

/* ---- Blocks ---- */

/* The magazine for objects of `bytes` payload, made if need be; NULL with *large set for what is too large, NULL
 * without when there is no memory. */
struct po_magazine *po_store_magazine(po_heap *heap, size_t bytes, unsigned kind, bool *large);
/* Puts free blocks on the empty magazine; false: no memory, or beyond the limit. */
bool po_store_refill(po_heap *heap, struct po_magazine *magazine);
void po_store_flush(po_heap *heap, struct po_magazine *magazine);
/* A zeroed large object without a header; NULL: no memory, or beyond the limit. */
void *po_store_large(po_heap *heap, size_t bytes);
void po_store_free_large(po_heap *heap, void *object);
/* Any thread: the block, whose header is 0, returns to its heap later. */
void po_store_free_remote(po_heap *heap, void *object, bool large);
void po_store_drain(po_heap *heap);
/* Pools without blocks in use are given up. */
void po_store_trim(po_heap *heap);
/* All arenas and large objects, whatever is in them. */
void po_store_destroy(po_heap *heap);

/* For transfer.c: a slot for another heap's arena; a number for a large object; the arena goes back to the region. */
bool po_store_find_slot(po_heap *heap, uint32_t *slot);
bool po_store_find_large(po_heap *heap, uint32_t *index);
void po_store_forget_large(po_heap *heap, uint32_t index);
/* Guarded by its lock: which heap a mixed arena belongs to. */
extern struct pm_lock po_mixed_lock;

size_t po_store_held(const po_heap *heap);
/* Bytes of an object with its header. */
size_t po_store_bytes(const void *object);

PM_INLINE struct po_arena *
po_arena_at(const void *object)
{
    return (struct po_arena *)pm_arena_of(object);
}

PM_INLINE unsigned
po_page_of(const void *object)
{
    return ((uintptr_t)object >> PM_POOL_SHIFT) % PM_ARENA_POOLS;
}

PM_INLINE struct po_pool *
po_pool_in(const struct po_arena *arena, unsigned page)
{
    return (struct po_pool *)((char *)arena + page * PM_DESCRIPTOR_SIZE);
}

PM_INLINE void
po_store_free(po_heap *heap, struct po_magazine *magazine, void *object)
{
    po_write_info(po_header(object), 0);
    if (PM_UNLIKELY(magazine->top == magazine->end))
        po_store_flush(heap, magazine);
    *magazine->top++ = object;
}

PM_INLINE struct po_magazine *
po_store_magazine_of(const po_heap *heap, const void *object)
{
    const struct po_pool *pool = po_pool_in(po_arena_at(object), po_page_of(object));
    return heap->magazines[pool->kind][pool->units];
}

/* ---- Addresses ---- */

/* NULL for a large object. */
PM_INLINE struct po_place *
po_place_of(const void *object)
{
    size_t arena = ((uintptr_t)object - po_base) >> PM_ARENA_SHIFT;
    return PM_LIKELY(arena < po_place_count) ? &po_places[arena] : NULL;
}

PM_INLINE struct po_large *
po_large_of(const void *object)
{
    return (struct po_large *)((char *)object - sizeof(struct po_large));
}

/* The object's number among the granules of its heap, by the arena's slot. */
PM_INLINE size_t
po_granule_of(uint32_t slot, const void *object)
{
    return ((size_t)slot << PO_SLOT_SHIFT) | (((uintptr_t)object >> 4) & ((1u << PO_SLOT_SHIFT) - 1));
}

/* The object of a granule where one begins; `arena` is the slot's. */
void *po_object_at_granule(const struct po_arena *arena, unsigned granule);

/* The block in use at exactly this address, or false: for words that may be anything. */
bool po_store_is_object(const po_heap *heap, const void *word);

/* ---- Objects in arenas of other heaps (transfer.c) ---- */

/* A heap that objects were transferred to has slots, too, for the arenas they lie in. Of those it looks at the pools
 * that such objects came from, whose geometry does not change any more. */
struct po_guests {
    uint64_t *pools; /* by slot: the pools with objects of the heap; 0 for its own arenas */
    uint32_t slots;
    struct po_array map; /* from an arena's number to its slot: pairs, half of them free */
};

/* When the heap is destroyed: its objects leave the arenas that other heaps look at. True: there are such arenas. */
bool po_guests_destroy(po_heap *heap);

/* The heap's slot for the arena of an object that is its own, or false. */
bool po_guest_slot_slow(const po_heap *heap, const void *object, uint32_t *slot);

PM_INLINE bool
po_guest_slot(const po_heap *heap, const void *object, uint32_t *slot)
{
    return PM_UNLIKELY(heap->guest_arenas != 0) && po_guest_slot_slow(heap, object, slot);
}

/* Whether the pool of this number (slot * 64 + page), in another heap's arena, has objects of the heap. */
PM_INLINE bool
po_guest_pool(const po_heap *heap, size_t pool)
{
    const struct po_guests *guests = heap->guests;
    size_t slot = pool / PM_ARENA_POOLS;
    return guests != NULL && slot < guests->slots && (guests->pools[slot] >> (pool % PM_ARENA_POOLS) & 1) != 0;
}

PM_INLINE struct po_arena *
po_arena_in_slot(const po_heap *heap, uint32_t slot)
{
    return slot < heap->arena_count ? heap->arenas[slot] : NULL;
}

/* ---- Walks ---- */

typedef void po_walker(void *object, po_type *type, void *context);

/* Each object of a pool that belongs to the heap. */
PM_INLINE void
po_walk_pool(const po_heap *heap, const struct po_arena *arena, unsigned page, po_walker *walk, void *context)
{
    const struct po_pool *pool = po_pool_in(arena, page);
    size_t size = (size_t)pool->units * 8;
    char *object = (char *)arena + page * PM_POOL_SIZE + pool->start;
    for (unsigned left = pool->block_count; left > 0; left--, object += size) {
        uint32_t info = po_read_info(po_header(object));
        if (info == 0)
            continue;
        po_type *type = po_type_at(info);
        if (PM_UNLIKELY(arena->mixed) && (type == NULL || type->heap != heap))
            continue;
        walk(object, type, context);
    }
}

/* The pools of an arena that have blocks. */
PM_INLINE uint64_t
po_arena_pools(const struct po_arena *arena)
{
    uint64_t bits = 0;
    for (unsigned page = 1; page < PM_ARENA_POOLS; page++) {
        const struct po_pool *pool = po_pool_in(arena, page);
        if (!(arena->free_pools >> page & 1) && pool->units != 0 && pool->free_count != pool->block_count)
            bits |= UINT64_C(1) << page;
    }
    return bits;
}

enum { PO_WALK_TRACKED = 1, PO_WALK_ACYCLIC = 2, PO_WALK_ALL = 3 };

/* Each object in the arenas of these sorts, the large ones (of both) too. */
PM_INLINE void
po_walk(const po_heap *heap, unsigned sorts, po_walker *walk, void *context)
{
    for (uint32_t slot = 0; slot < heap->arena_count; slot++) {
        const struct po_arena *arena = heap->arenas[slot];
        if (arena == NULL || !(sorts & (arena->acyclic ? PO_WALK_ACYCLIC : PO_WALK_TRACKED)))
            continue;
        uint64_t pools = arena->heap == heap ? po_arena_pools(arena) : heap->guests->pools[slot];
        for (; pools != 0; pools &= pools - 1)
            po_walk_pool(heap, arena, (unsigned)__builtin_ctzll(pools), walk, context);
    }
    for (uint32_t i = 0; i < heap->large_count; i++) {
        struct po_large *large = heap->large[i];
        uint32_t info = (uintptr_t)large & 1 ? 0 : po_read_info(&large->header);
        if (info != 0 && (sorts & (info & PO_UNTRACKED ? PO_WALK_ACYCLIC : PO_WALK_TRACKED)))
            walk(large + 1, po_type_at(info), context);
    }
}

/* ---- Entries of the young logs ---- */

/* A large object's entry is its number, times 2, plus 1: its memory may be gone. */
PM_INLINE void *
po_entry_of(void *object)
{
    return PM_LIKELY(!po_has_flag(object, PO_LARGE)) ? object
                                                     : (void *)(((uintptr_t)po_large_of(object)->index << 1) | 1);
}

/* The object now at an entry; its header may be 0. NULL: none. */
PM_INLINE void *
po_entry_object(const po_heap *heap, void *entry)
{
    if (PM_LIKELY(!((uintptr_t)entry & 1)))
        return entry;
    struct po_large *large = heap->large[(uintptr_t)entry >> 1];
    return (uintptr_t)large & 1 ? NULL : large + 1;
}

/* ---- Frozen objects ---- */

PM_INLINE bool
po_is_frozen(const po_heap *heap, uint32_t slot, const void *object)
{
    if (slot >= heap->frozen_slots)
        return false;
    size_t granule = po_granule_of(slot, object);
    return (heap->frozen_bits[granule / 64] >> (granule % 64) & 1) != 0;
}

#pragma GCC visibility pop

#endif
