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
    unsigned number = heap->magazine_of[(size + PM_GRANULE - 1) >> PM_GRANULE_SHIFT];
    void *block = pm_magazine_pop(&heap->magazines[number]);
    return PM_LIKELY(block != NULL) ? block : pm_malloc_slow(size);
}

PM_INLINE void
pm_fast_free(void *block)
{
    uintptr_t offset = (uintptr_t)block - pm_region.base;
    if (PM_UNLIKELY(offset >= pm_region.size)) {
        pm_free_system(block);
        return;
    }
    size_t class = ((const uint8_t *)pm_region.base)[offset >> PM_POOL_SHIFT];
    if (PM_UNLIKELY(!pm_magazine_push(&pm_heap_current->magazines[class], block)))
        pm_free_slow(block);
}

#endif
