/* SPDX-License-Identifier: MIT
 *
 * Points 3 and 4: finalizers, resurrection, and the order of a collection. After CPython's test_finalization, as far
 * as it applies.
 */
#include "support.h"

#include <stddef.h>
#include <string.h>

static po_heap *heap;
static void *saved;
static po_weak *weaks[8];
static char order[64];

static void
note(char what)
{
    order[strlen(order)] = what;
}

static void
resurrect_number_1(void *object)
{
    count_finalize(object);
    if (((struct hooked *)object)->number == 1)
        saved = po_incref(object);
}

/* A ring of three, and a tail that number 1 alone does not hold. */
static void
drop_ring(po_type *type)
{
    struct hooked *one = new_hooked(type, 1, NULL), *two = new_hooked(type, 2, NULL);
    struct hooked *three = new_hooked(type, 3, NULL);
    one->next = po_incref(two);
    two->next = po_incref(three);
    three->next = po_incref(one);
    po_decref(one);
    po_decref(two);
    po_decref(three);
}

Test(finalize, one_that_is_resurrected_keeps_what_it_reaches)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, resurrect_number_1);
    drop_ring(type);
    /* A second ring, of the same collection, is not saved. */
    struct hooked *four = new_hooked(type, 4, NULL);
    po_set_steal(&four->next, new_hooked(type, 5, four));
    cr_assert_eq(po_gc_collect(heap, 0), 2);
    for (int i = 1; i <= 5; i++)
        cr_assert_eq(finalized[i], 1);
    cr_assert_eq(destroyed[1] + destroyed[2] + destroyed[3], 0);
    cr_assert(destroyed[4] == 1 && destroyed[5] == 1);
    cr_assert(po_gc_is_finalized(saved));
    cr_assert_eq(po_refcount(saved), 2);
    po_decref(saved);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    for (int i = 1; i <= 3; i++)
        cr_assert(finalized[i] == 1 && destroyed[i] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
take_next_of_number_1(void *object)
{
    struct hooked *hooked = object;
    count_finalize(object);
    if (hooked->number == 1) {
        saved = hooked->next;
        hooked->next = NULL; /* the reference is ours now */
    }
}

Test(finalize, one_that_is_saved_without_the_ring)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, take_next_of_number_1);
    struct hooked *one = new_hooked(type, 1, new_hooked(type, 2, NULL)), *three = new_hooked(type, 3, one);
    /* The ring is a knot that refers to itself; 3, 1 and 2 hang on it. */
    struct node *knot = po_new(node_type(heap));
    knot->left = knot;
    knot->right = three;
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    cr_assert_eq(destroyed[1] + destroyed[3], 2);
    cr_assert_eq(destroyed[2], 0);
    cr_assert_eq(po_refcount(saved), 1);
    po_decref(saved);
    cr_assert(destroyed[2] == 1 && finalized[2] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(finalize, an_object_that_dies_by_its_count_may_live_again_once)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, resurrect_number_1);
    po_decref(new_hooked(type, 1, new_hooked(type, 2, NULL)));
    cr_assert_eq(finalized[1], 1);
    cr_assert_eq(destroyed[1], 0);
    cr_assert_eq(po_refcount(saved), 1);
    cr_assert_eq(finalized[2], 0);
    po_decref(saved);
    cr_assert(finalized[1] == 1 && destroyed[1] == 1);
    cr_assert(finalized[2] == 1 && destroyed[2] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static po_type *plain_type;

/* Allocates, releases, collects, breaks the ring itself. */
static void
do_everything(void *object)
{
    struct hooked *hooked = object;
    count_finalize(object);
    for (int i = 0; i < 2000; i++)
        po_decref(po_new(plain_type));
    po_decref(new_ring(plain_type, 3));
    saved = (void *)(uintptr_t)(po_gc_collect(heap, 2) + 1);
    po_clear(&hooked->next);
}

Test(finalize, a_finalizer_may_do_everything)
{
    heap = new_heap();
    plain_type = node_type(heap);
    po_type *type = hooked_type(heap, do_everything);
    drop_ring(type);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    cr_assert_eq((uintptr_t)saved, 1, "a collection within a collection finds nothing");
    for (int i = 1; i <= 3; i++)
        cr_assert(finalized[i] == 1 && destroyed[i] == 1);
    cr_assert_eq(po_gc_collect(heap, 2), 9);
    cr_assert_eq(objects_in(heap), 0);
    /* The same by its count, where a collection may run. */
    po_decref(new_hooked(type, 4, new_hooked(type, 5, NULL)));
    cr_assert(destroyed[4] == 1 && destroyed[5] == 1);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
release_at_once(void *object)
{
    struct hooked *hooked = object;
    count_finalize(object);
    if (hooked->next == NULL)
        return;
    uint64_t number = ((struct hooked *)hooked->next)->number;
    po_clear(&hooked->next);
    cr_assert_eq(destroyed[number], 1);
}

Test(finalize, what_a_finalizer_drops_dies_before_it_returns)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, release_at_once);
    po_decref(new_hooked(type, 1, new_hooked(type, 2, new_hooked(type, 3, NULL))));
    cr_assert(destroyed[1] == 1 && destroyed[3] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- The order of a collection ---- */

static void
note_callback(po_weak *weak, void *context)
{
    (void)context;
    note('c');
    cr_assert_null(po_weak_get(weak));
    /* Those without a callback still see their objects: nothing is destroyed, nothing finalized. */
    void *object = po_weak_get(weaks[1]);
    cr_assert_not_null(object);
    po_decref(object);
}

static void
note_finalize(void *object)
{
    (void)object;
    note('f');
    void *other = po_weak_get(weaks[1]);
    cr_assert_not_null(other);
    po_decref(other);
    cr_assert_null(po_weak_get(weaks[0]));
}

static void
note_destroy(void *object)
{
    (void)object;
    note('d');
    cr_assert_null(po_weak_get(weaks[0]));
    cr_assert_null(po_weak_get(weaks[1]));
}

static po_type *
noting_type(void)
{
    static const uint16_t references[] = {0, PO_END};
    return po_type_create(heap, &(struct po_type_spec){.name = "noting",
                                                       .size = sizeof(struct hooked),
                                                       .references = references,
                                                       .finalize = note_finalize,
                                                       .destroy = note_destroy});
}

Test(finalize, callbacks_then_finalizers_then_the_end)
{
    heap = new_heap();
    po_type *type = noting_type();
    struct hooked *one = po_new(type), *two = po_new(type);
    one->next = two;
    two->next = one;
    weaks[0] = po_weak_create(one, note_callback, NULL);
    weaks[1] = po_weak_create(two, NULL, NULL);
    cr_assert_eq(po_gc_collect(heap, 0), 2);
    cr_assert_str_eq(order, "cffdd");
    po_weak_destroy(weaks[0]);
    po_weak_destroy(weaks[1]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
resurrect_by_weak(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    saved = po_weak_get(weaks[1]);
}

Test(finalize, a_callback_may_save_what_another_weak_reference_knows)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, NULL);
    struct hooked *one = new_hooked(type, 1, NULL);
    one->next = new_hooked(type, 2, one);
    weaks[0] = po_weak_create(one, resurrect_by_weak, NULL);
    weaks[1] = po_weak_create(one->next, NULL, NULL);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(((struct hooked *)saved)->number, 2);
    cr_assert_eq(destroyed[1] + destroyed[2], 0);
    void *again = po_weak_get(weaks[1]);
    cr_assert_eq(again, saved);
    po_decref(again);
    po_decref(saved);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    po_weak_destroy(weaks[0]);
    po_weak_destroy(weaks[1]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
weak_in_finalizer(void *object)
{
    weaks[2] = po_weak_create(object, note_callback, NULL);
    cr_assert_not_null(weaks[2]);
}

/* Made in a finalizer, for an object that does not come back: cleared, not called. */
Test(finalize, a_weak_reference_made_in_a_finalizer_is_cleared)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, weak_in_finalizer);
    struct hooked *one = new_hooked(type, 1, NULL);
    one->next = one;
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert_null(po_weak_get(weaks[2]));
    cr_assert_str_eq(order, "");
    po_weak_destroy(weaks[2]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(finalize, the_end_of_a_heap_runs_the_finalizers_of_garbage)
{
    heap = new_heap();
    po_type *type = hooked_type(heap, count_finalize);
    struct hooked *one = new_hooked(type, 1, NULL);
    one->next = one;
    new_hooked(type, 2, NULL);
    cr_assert_eq(po_heap_destroy(heap), 1);
    cr_assert(finalized[1] == 1 && destroyed[1] == 1);
    cr_assert(finalized[2] == 0 && destroyed[2] == 1);
}

static void
destroy_heap(void *object)
{
    (void)object;
    po_heap_destroy(heap);
}

static void
destroy_in_finalizer(void)
{
    heap = new_heap();
    po_decref(po_new(hooked_type(heap, destroy_heap)));
}

static void
use_after_destroy(void)
{
    heap = new_heap();
    po_heap_destroy(heap);
    po_gc_collect(heap, 2);
}

static void
use_no_heap(void)
{
    po_gc_enable(NULL);
}

Test(finalize, a_heap_that_is_gone_or_busy_ends_the_program)
{
    require_abort(destroy_in_finalizer,
                  "poolobject: po_heap_destroy: called by a finalizer, callback or visitor of the heap\n");
    require_abort(use_after_destroy, "poolobject: po_gc_collect: the heap was destroyed\n");
    require_abort(use_no_heap, "poolobject: po_gc_enable: no heap\n");
}
