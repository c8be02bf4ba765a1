/* SPDX-License-Identifier: MIT
 *
 * Counts compared with references: every object of the heap is visited, and every reference counted.
 */
#include "../geometry.h"
#include "store.h"

struct verify {
    po_heap *heap;
    uint32_t *found; /* by granule, then by large object */
    size_t granules;
    struct po_array *outside;
    bool failed;
};

static uint32_t *
cell_of(const struct verify *verify, const void *object)
{
    const struct po_place *place = po_place_of(object);
    if (place == NULL)
        return po_type_in(object)->heap == verify->heap ? &verify->found[verify->granules + po_large_of(object)->index]
                                                        : NULL;
    uint32_t slot = place->slot;
    if (place->heap != verify->heap && !po_guest_slot(verify->heap, object, &slot))
        return NULL;
    return &verify->found[po_granule_of(slot, object)];
}

static void
count_reference(void *referent, void *context)
{
    struct verify *verify = context;
    if (referent == NULL)
        return;
    uint32_t *cell = cell_of(verify, referent);
    if (cell == NULL)
        po_check_foreign(verify->heap, referent);
    else if (po_read_info(po_header(referent)) == 0)
        po_fault("a reference to an object that was released: its count was less than the references to it", NULL,
                 NULL);
    else
        ++*cell;
}

static void
count_object(void *object, po_type *type, void *context)
{
    if (!po_has_flag(object, PO_DYING))
        po_visit(object, type, count_reference, context);
}

static void
compare(void *object, po_type *type, void *context)
{
    struct verify *verify = context;
    const uint32_t *cell = cell_of(verify, object);
    uint32_t count = po_count_of(po_header(object));
    (void)type;
    if (cell == NULL || count == UINT32_MAX || po_has_flag(object, PO_DYING))
        return;
    if (*cell > count && !po_has_flag(object, PO_SHARED))
        po_fault_count(verify->heap, object);
    if (count > *cell && verify->outside != NULL && !po_array_push(verify->outside, object))
        verify->failed = true;
}

bool
po_verify_counts(po_heap *heap, struct po_array *outside)
{
    struct verify verify = {heap, NULL, (size_t)heap->arena_count << PO_SLOT_SHIFT, outside, false};
    size_t bytes = (verify.granules + heap->large_count + 1) * sizeof(uint32_t);
    verify.found = po_map(bytes);
    if (verify.found == NULL)
        return false;
    po_walk(heap, PO_WALK_ALL, count_object, &verify);
    po_walk(heap, PO_WALK_ALL, compare, &verify);
    po_unmap(verify.found, bytes);
    return !verify.failed;
}

void
po_heap_verify(po_heap *heap)
{
    po_check_heap(heap, "po_heap_verify");
    po_store_drain(heap);
    if (!po_verify_counts(heap, NULL))
        po_say("po_heap_verify: no memory", NULL, NULL, 0);
}

struct referrer {
    const void *object;
    const po_type *type;
    const po_type *found;
};

static void
look_at_reference(void *referent, void *context)
{
    struct referrer *referrer = context;
    if (referent == referrer->object)
        referrer->found = referrer->type;
}

static void
look_at_object(void *object, po_type *type, void *context)
{
    struct referrer *referrer = context;
    if (referrer->found != NULL || po_has_flag(object, PO_DYING))
        return;
    referrer->type = type;
    po_visit(object, type, look_at_reference, referrer);
}

_Noreturn void
po_fault_count(po_heap *heap, const void *object)
{
    struct referrer referrer = {object, NULL, NULL};
    po_walk(heap, PO_WALK_ALL, look_at_object, &referrer);
    po_fault("an object of type %s has a count less than the references to it, one of them from type %s",
             po_type_in(object), referrer.found);
}
