/* SPDX-License-Identifier: MIT
 *
 * The fast path: malloc pops, free pushes. No lock, no atomic operation, no counter, no mode. Whatever does not fit
 * goes to a slow path in alloc.c. Inline, because pm_malloc and malloc (override.c) are both made of it. Layer 4: uses
 * heap.h and region.h.
 */
#ifndef PM_FAST_H
#define PM_FAST_H

#include "alloc.h"
#include "heap.h"
#include "region.h"

PM_INLINE void *
pm_fast_malloc(size_t size)
{
    if (PM_UNLIKELY(size > PM_TABLE_MAX))
        return pm_malloc_large(size);
    struct pm_heap *heap = pm_heap_current;
    size_t offset = heap->magazine_offset[(size + PM_GRANULE - 1) >> PM_GRANULE_SHIFT];
    void *block = pm_magazine_pop((struct pm_magazine *)((char *)heap->magazines + offset));
    return PM_LIKELY(block != NULL) ? block : pm_malloc_slow(size);
}

/* The low bits of the offset, which no block has, are rotated to the top: so one comparison recognises an address
 * outside the region and one that is not a multiple of 8. A block freed twice in a row is still the magazine's last. */
PM_INLINE void
pm_fast_free(void *block)
{
    uintptr_t offset = (uintptr_t)block - pm_region.arenas;
    uintptr_t granule = offset >> PM_GRANULE_SHIFT | offset << (64 - PM_GRANULE_SHIFT);
    if (PM_UNLIKELY(granule >= pm_region.granules)) {
        pm_free_outside(block);
        return;
    }
    size_t class = pm_region.map[granule >> (PM_POOL_SHIFT - PM_GRANULE_SHIFT)];
    struct pm_magazine *magazine = &pm_heap_current->magazines[class];
    if (PM_UNLIKELY(magazine->last == block || !pm_magazine_push(magazine, block)))
        pm_free_slow(block);
}

#endif
