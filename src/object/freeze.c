/* SPDX-License-Identifier: MIT
 *
 * Frozen objects: a bit for each granule of the heap, set for all that are alive and tracked. Collections leave them
 * out, so that they count as outside, and nothing about them is written. A new object in a block that a frozen one
 * left is not frozen: its bit was cleared.
 */
#include "store.h"

#include "../geometry.h"

static void
freeze_object(void *object, po_type *type, void *context)
{
    po_heap *heap = context;
    if (!type->tracked || po_has_flag(object, PO_SHARED | PO_DYING))
        return;
    const struct po_place *place = po_place_of(object);
    if (place == NULL) {
        heap->frozen += !po_large_of(object)->frozen;
        po_large_of(object)->frozen = 1;
        return;
    }
    uint32_t slot = place->slot;
    if ((place->heap != heap && !po_guest_slot(heap, object, &slot)) || po_is_frozen(heap, slot, object))
        return;
    size_t granule = po_granule_of(slot, object);
    heap->frozen_bits[granule / 64] |= UINT64_C(1) << (granule % 64);
    heap->frozen++;
}

static size_t
bytes_for(uint32_t slots)
{
    return (size_t)slots << (PO_SLOT_SHIFT - 3);
}

void
po_gc_freeze(po_heap *heap)
{
    po_check_heap(heap, "po_gc_freeze");
    if (heap->frozen_slots < heap->arena_count) {
        uint64_t *bits = po_map(bytes_for(heap->arena_count));
        if (bits == NULL)
            return;
        for (size_t i = 0; i < bytes_for(heap->frozen_slots) / 8; i++)
            bits[i] = heap->frozen_bits[i];
        po_unmap(heap->frozen_bits, bytes_for(heap->frozen_slots));
        heap->frozen_bits = bits;
        heap->frozen_slots = heap->arena_count;
    }
    po_old_end(heap);
    po_walk(heap, PO_WALK_TRACKED, freeze_object, heap);
    /* Nothing is young any more; entries for objects that are frozen would only be skipped. */
    po_young_forget(heap);
    heap->old_total = heap->old_pending = 0;
    po_young_set_limit(heap);
    po_types_set_quick(heap);
}

static void
unfreeze_object(void *object, po_type *type, void *context)
{
    (void)type, (void)context;
    if (po_has_flag(object, PO_LARGE))
        po_large_of(object)->frozen = 0;
}

void
po_gc_unfreeze(po_heap *heap)
{
    po_check_heap(heap, "po_gc_unfreeze");
    po_old_end(heap);
    if (heap->frozen != 0)
        po_walk(heap, PO_WALK_TRACKED, unfreeze_object, NULL);
    heap->old_total += heap->frozen;
    heap->frozen = 0;
    po_unmap(heap->frozen_bits, bytes_for(heap->frozen_slots));
    heap->frozen_bits = NULL;
    heap->frozen_slots = 0;
    po_types_set_quick(heap);
    po_young_set_limit(heap);
}

size_t
po_gc_get_freeze_count(po_heap *heap)
{
    po_check_heap(heap, "po_gc_get_freeze_count");
    return heap->frozen;
}
