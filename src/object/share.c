/* SPDX-License-Identifier: MIT
 *
 * Shared objects: their counts are atomic, and they are no part of collections. po_share checks the whole graph before
 * it changes any of it. A shared object that dies is destroyed by the thread that dropped the last reference, on a
 * stack of that thread's own; its block goes back to its heap by a list without a lock.
 */
#include <errno.h>

#include "carry.h"
#include "reach.h"
#include "release.h"
#include "store.h"

/* ---- Sharing ---- */

static bool
may_be_shared(const void *object, const po_type *type)
{
    return type->finalize == NULL && !po_has_flag(object, PO_HAS_WEAK | PO_DYING);
}

struct order {
    struct po_carries *counts;
    struct po_array *ready;
};

/* One reference less to be seen; the last one makes the object ready. */
static void
see_reference(void *referent, void *context)
{
    struct order *order = context;
    if (referent == NULL)
        return;
    struct po_carry *entry = po_carry_entry(order->counts, referent);
    if (entry != NULL && --entry->count == 0)
        order->ready->items[order->ready->count++] = referent;
}

/* Whether the objects can be put in an order in which references go forward only. */
static bool
is_acyclic(struct po_reach *reach, struct po_array *ready)
{
    struct order order = {&reach->counts, ready};
    void *root = reach->objects.items[0];
    if (po_carry_entry(&reach->counts, root)->count != 0)
        return false;
    ready->items[ready->count++] = root;
    for (size_t i = 0; i < ready->count; i++)
        po_visit(ready->items[i], po_type_in(ready->items[i]), see_reference, &order);
    return ready->count == reach->objects.count;
}

static void
share_one(po_heap *heap, void *object)
{
    struct po_header *header = po_header(object);
    po_thaw(heap, object);
    if (header->info & PO_INTERNED) {
        /* The table has no lock: such a string may never die. */
        header->count = PO_IMMORTAL_COUNT;
        return;
    }
    uint32_t count = po_count_of(header);
    header->count = count < PO_SHARED_MASK / 2 ? PO_SHARED_COUNT | count : PO_IMMORTAL_COUNT;
    po_write_info(header, header->info | PO_SHARED);
}

static int
check_graph(po_heap *heap, struct po_reach *reach, struct po_array *ready)
{
    for (size_t i = 0; i < reach->objects.count; i++) {
        void *object = reach->objects.items[i];
        const po_type *type = po_type_in(object);
        if (type->heap != heap || !may_be_shared(object, type))
            return EINVAL;
        if (!po_has_flag(object, PO_LARGE) && ((uintptr_t)object - po_base) >> 4 > po_link_limit)
            return ENOMEM; /* there must be a link for its death */
    }
    if (!po_array_reserve(ready, reach->objects.count))
        return ENOMEM;
    return is_acyclic(reach, ready) ? 0 : EINVAL;
}

bool
po_share(void *object)
{
    struct po_reach reach = {0};
    struct po_array ready = {0};
    if (object == NULL) {
        errno = EINVAL;
        return false;
    }
    if (po_has_flag(object, PO_SHARED) || po_is_immortal(object))
        return true;
    po_heap *heap = po_heap_of(object);
    po_check_heap(heap, "po_share");
    int error = po_reach(&reach, object) ? check_graph(heap, &reach, &ready) : ENOMEM;
    for (size_t i = 0; error == 0 && i < reach.objects.count; i++)
        share_one(heap, reach.objects.items[i]);
    po_reach_free(&reach);
    po_array_free(&ready);
    if (error != 0)
        errno = error;
    return error == 0;
}

/* ---- The death of shared objects ---- */

static PM_THREAD_LOCAL struct po_dying *releasing;

static void
bury_shared(void *object)
{
    const po_type *type = po_type_in(object);
    po_heap *heap = type->heap;
    bool large = po_has_flag(object, PO_LARGE);
    po_drop_references(object, type);
    if (type->destroy != NULL)
        type->destroy(object);
    if (!large && po_arena_at(object)->mixed)
        po_store_free_guest(heap, object);
    else
        po_store_free_remote(heap, object, large);
}

void
po_shared_release(void *object)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (PM_UNLIKELY(PO_READ_COUNT(&po_header(object)->count) != PO_SHARED_COUNT))
        po_fault("po_decref: a shared object of type %s was released more often than referenced", po_type_in(object),
                 NULL);
    if (releasing != NULL) {
        po_dying_push(releasing, object);
        return;
    }
    int error = errno;
    struct po_dying dying = {0};
    releasing = &dying;
    po_dying_push(&dying, object);
    while ((object = po_dying_pop(&dying)) != NULL)
        bury_shared(object);
    releasing = NULL;
    errno = error;
}
