/* SPDX-License-Identifier: MIT
 *
 * The end of objects that a collection found, in CPython's order (PEP 442): weak references with callbacks are cleared
 * and called; finalizers run; what the two have resurrected is found by a second trial and left alone; the other weak
 * references are cleared; references are dropped; the objects are destroyed.
 *
 * From the first step on the collector holds a reference to each, so none dies before its turn, whatever the program's
 * code does.
 */
#include "carry.h"
#include "release.h"
#include "store.h"

static bool
run_finalizers(struct po_array *garbage)
{
    bool any = false;
    for (size_t i = 0; i < garbage->count; i++) {
        const po_type *type = po_type_in(garbage->items[i]);
        if (type->finalize == NULL || po_has_flag(garbage->items[i], PO_FINALIZED))
            continue;
        po_run_finalizer(garbage->items[i], type);
        any = true;
    }
    return any;
}

static void
drop_holds(void **objects, size_t count)
{
    for (size_t i = 0; i < count; i++)
        po_decref(objects[i]);
}

/* What the program has frozen or shared in the meantime is no longer for collections: it lives on, by the references
 * that it has without the collector's. Dropping that may run more of the program. */
static void
leave_out(po_heap *heap, struct po_array *garbage)
{
    size_t members;
    while ((members = po_subset_members(heap, garbage)) != garbage->count) {
        size_t others = garbage->count - members;
        garbage->count = members;
        po_weak_spare(heap, garbage->items + members, others);
        drop_holds(garbage->items + members, others);
    }
}

/* Weak references and finalizers; then `garbage` has only what is dead for good. False: no memory to tell. */
static bool
run_program(po_heap *heap, struct po_array *garbage)
{
    uint64_t before = heap->weak_count;
    bool ran = false;
    if (before != 0)
        ran = po_weak_clear_called(heap, garbage->items, garbage->count);
    ran |= run_finalizers(garbage);
    if (!ran)
        return true;
    size_t alive = 0;
    leave_out(heap, garbage);
    if (!po_subset_split(heap, garbage, 1, &alive)) {
        drop_holds(garbage->items, garbage->count);
        return false;
    }
    po_weak_spare(heap, garbage->items, alive);
    drop_holds(garbage->items, alive);
    garbage->items += alive;
    garbage->count -= alive;
    if (!po_weak_condemn(heap, garbage->items, garbage->count)) {
        drop_holds(garbage->items, garbage->count);
        return false;
    }
    return true;
}

/* A type that can be visited but not cleared: its references go when it dies. */
static bool
cannot_clear(const po_type *type)
{
    return (type->shape & PO_HAS_TRAVERSE) && type->clear == NULL;
}

/* As po_drop_references, for a quick object: most of what it refers to is held by the collector. */
PM_INLINE void
drop_quickly(void *object, const po_type *type)
{
    for (uint32_t i = 0; i < type->reference_count; i++) {
        void **slot = (void **)((char *)object + type->references[i]), *referent = *slot;
        *slot = NULL;
        po_decref(referent);
    }
}

/* Without the collector's reference nothing refers to the object: it dies. */
static bool
end_one(po_heap *heap, void *object, const po_type *type)
{
    struct po_header *header = po_header(object);
    if (header->count == 1 && po_is_quick(header->info, type)) {
        header->count = 0;
        po_store_free(heap, type->quick, object);
        return true;
    }
    if (po_count_of(header) != 1) {
        po_decref(object);
        return false;
    }
    if (PM_UNLIKELY(cannot_clear(type) || (header->info & PO_HAS_WEAK) || type->finalize != NULL)) {
        po_decref(object);
        return true;
    }
    po_write_info(header, header->info | PO_DYING);
    header->count = PO_IMMORTAL_COUNT + 1;
    po_bury(object, heap, type);
    return true;
}

static void
end_all(po_heap *heap, const struct po_array *garbage, bool any, uint64_t *uncollectable)
{
    /* First those whose references go only now, for what they refer to dies of it. */
    for (size_t i = 0; any && i < garbage->count; i++)
        if (cannot_clear(po_type_in(garbage->items[i])) && po_count_of(po_header(garbage->items[i])) == 1) {
            po_decref(garbage->items[i]);
            garbage->items[i] = NULL;
        }
    for (size_t i = 0; i < garbage->count; i++)
        if (garbage->items[i] != NULL && !end_one(heap, garbage->items[i], po_type_in(garbage->items[i])))
            ++*uncollectable;
}

static size_t
dispose(po_heap *heap, const struct po_array *garbage, uint64_t *uncollectable, bool *put_off)
{
    struct po_array rest = *garbage;
    /* The memory of the second trial is there before any code of the program runs. */
    if (((heap->has_finalizers || po_weak_any(heap)) && !po_subset_reserve(heap, &rest)) ||
        !po_weak_condemn(heap, rest.items, rest.count)) {
        *put_off = true;
        return 0;
    }
    for (size_t i = 0; i < rest.count; i++)
        po_header(rest.items[i])->count++;
    if (!run_program(heap, &rest)) {
        *put_off = true;
        return 0;
    }
    if (po_weak_any(heap))
        for (size_t i = 0; i < rest.count; i++)
            if (po_has_flag(rest.items[i], PO_HAS_WEAK))
                po_weak_clear_all(heap, rest.items[i]);
    heap->ending = true;
    bool any = false; /* that cannot be cleared */
    for (size_t i = 0; i < rest.count; i++) {
        po_type *type = po_type_in(rest.items[i]);
        type->collected++;
        any |= cannot_clear(type);
        if (type->quick != NULL)
            drop_quickly(rest.items[i], type);
        else
            po_drop_references(rest.items[i], type);
    }
    end_all(heap, &rest, any, uncollectable);
    heap->ending = false;
    return rest.count;
}

size_t
po_dispose(po_heap *heap, struct po_array *garbage, uint64_t *uncollectable, bool *put_off)
{
    struct po_carries condemned = {0};
    heap->condemned = &condemned;
    size_t found = dispose(heap, garbage, uncollectable, put_off);
    heap->condemned = NULL;
    po_carry_free(&condemned);
    return found;
}
