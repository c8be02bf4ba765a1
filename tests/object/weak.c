/* SPDX-License-Identifier: MIT
 *
 * Point 5, and weak references as such. After CPython's test_weakref, as far as it applies.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>

static po_weak *weaks[1000];
static int calls, called_first;

static void
count_call(po_weak *weak, void *context)
{
    cr_assert_null(po_weak_get(weak));
    if (calls++ == 0)
        called_first = (int)(intptr_t)context;
}

Test(weak, it_gives_new_references_while_the_object_lives)
{
    po_heap *heap = new_heap();
    void *node = po_new(node_type(heap));
    po_weak *weak = po_weak_create(node, count_call, NULL);
    cr_assert_eq(po_weak_get(weak), node);
    cr_assert_eq(po_refcount(node), 2);
    po_decref(node);
    po_decref(node);
    cr_assert_eq(calls, 1);
    cr_assert_null(po_weak_get(weak));
    po_weak_destroy(weak);
    po_weak_destroy(NULL);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static po_weak *early;

static void
check_early(void *object)
{
    cr_assert_null(po_weak_get(early));
    errno = 0;
    cr_assert_null(po_weak_create(object, NULL, NULL));
    cr_assert_eq(errno, EINVAL);
    calls += 100;
}

Test(weak, it_is_null_before_the_destroy_and_no_new_one_can_be_had)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "checked", .size = 8, .references = references, .destroy = check_early});
    void *object = po_new(type);
    early = po_weak_create(object, count_call, NULL);
    po_decref(object);
    cr_assert_eq(calls, 101);
    po_weak_destroy(early);
    void **ring = po_new(type);
    *ring = ring;
    early = po_weak_create(ring, count_call, NULL);
    po_gc_collect(heap, 2);
    cr_assert_eq(calls, 202);
    po_weak_destroy(early);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(weak, many_for_one_object_and_one_for_many)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *node = po_new(type);
    for (int i = 0; i < 1000; i++)
        weaks[i] = po_weak_create(node, i % 2 ? count_call : NULL, (void *)(intptr_t)i);
    for (int i = 0; i < 1000; i += 3)
        po_weak_destroy(weaks[i]);
    po_decref(node);
    cr_assert_eq(calls, 333);
    cr_assert_eq(called_first, 1, "in the order in which they were made");
    for (int i = 0; i < 1000; i++)
        if (i % 3 != 0)
            po_weak_destroy(weaks[i]);
    void *nodes[1000];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++)
            weaks[i] = po_weak_create(nodes[i] = po_new(type), NULL, NULL);
        for (int i = 0; i < 1000; i += 2)
            po_decref(nodes[i]);
        for (int i = 0; i < 1000; i++) {
            void *object = po_weak_get(weaks[i]);
            cr_assert_eq(object, i % 2 ? nodes[i] : NULL);
            po_decref(object);
            po_weak_destroy(weaks[i]);
        }
        for (int i = 1; i < 1000; i += 2)
            po_decref(nodes[i]);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* Two in one collection; the first callback destroys the second weak reference. */
static void
destroy_other(po_weak *weak, void *context)
{
    (void)context;
    calls++;
    po_weak_destroy(weaks[weaks[0] == weak]);
    po_weak_destroy(weak);
}

Test(weak, one_that_is_destroyed_while_it_waits_is_not_called)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    for (int how = 0; how < 2; how++) {
        struct node *ring = new_ring(type, 2);
        weaks[0] = po_weak_create(ring, destroy_other, NULL);
        weaks[1] = po_weak_create(how ? ring->right : ring, destroy_other, NULL);
        calls = 0;
        po_decref(ring);
        cr_assert_eq(po_gc_collect(heap, 2), 2);
        cr_assert_eq(calls, 1);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
destroy_owned(void *object)
{
    po_weak_destroy(((struct node *)object)->right);
}

Test(weak, one_whose_owner_dies_in_the_same_collection_is_not_called)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "observer",
                                                                .size = sizeof(struct node),
                                                                .references = references,
                                                                .destroy = destroy_owned});
    for (int owned = 0; owned < 2; owned++) {
        struct node *observer = po_new(type), *subject = po_new(type);
        subject->left = observer;
        observer->left = subject;
        observer->right = po_weak_create(subject, count_call, NULL);
        if (owned)
            po_weak_set_owner(observer->right, observer);
        calls = 0;
        cr_assert_eq(po_gc_collect(heap, 2), 2);
        cr_assert_eq(calls, 1 - owned);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* A million of them: one look-up for each. */
Test(weak, owners_are_found_in_linear_time, .timeout = 60)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "observer",
                                                                .size = sizeof(struct node),
                                                                .references = references,
                                                                .destroy = destroy_owned});
    struct node *first = po_new(type), *last = first;
    for (int i = 1; i < 1000000; i++) {
        struct node *observer = po_new(type);
        observer->right = po_weak_create(last, count_call, NULL);
        po_weak_set_owner(observer->right, observer);
        last->left = observer;
        last = observer;
    }
    last->left = first;
    calls = 0;
    cr_assert_eq(po_gc_collect(heap, 2), 1000000);
    cr_assert_eq(calls, 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static struct node *resurrected;

static void
resurrect_observer(void *object)
{
    resurrected = po_incref(object);
}

/* The weak reference to what lives is valid, and is called when that dies. */
Test(weak, one_whose_owner_is_resurrected_is_called_later)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "observer",
                                                                .size = sizeof(struct node),
                                                                .references = references,
                                                                .finalize = resurrect_observer,
                                                                .destroy = destroy_owned});
    struct node *observer = po_new(type), *subject = po_new(node_type(heap));
    observer->left = observer;
    observer->right = po_weak_create(subject, count_call, NULL);
    po_weak_set_owner(observer->right, observer);
    calls = 0;
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(resurrected, observer);
    po_decref(subject);
    cr_assert_eq(calls, 1);
    po_decref(observer);
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static po_type *late_type;
static void *late_address;

static void
visit_both(void *object, po_visitor *visit, void *context)
{
    visit(((struct node *)object)->left, context);
    visit(*(void **)((struct node *)object + 1), context);
}

/* In the block of the condemned owner, which is gone: a new one with a weak reference to what dies now. */
static void
replace_owner(void *object)
{
    (void)object;
    struct node *owner = po_new(late_type);
    void *subject = po_new(late_type);
    cr_assert(owner == late_address || subject == late_address);
    if (subject == late_address) {
        subject = owner;
        owner = late_address;
    }
    owner->right = po_weak_create(subject, count_call, NULL);
    po_weak_set_owner(owner->right, owner);
    po_decref(subject);
    po_decref(owner);
}

Test(weak, a_new_object_is_not_the_owner_that_lay_there)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    late_type = po_type_create(
        heap, &(struct po_type_spec){
                  .name = "observer", .size = 24, .traverse = visit_both, .destroy = destroy_owned});
    po_type *box = po_type_create(
        heap, &(struct po_type_spec){.name = "box", .size = 8, .references = references, .flags = PO_ACYCLIC});
    struct node *observer = po_new(late_type), *node = po_new(node_type(heap));
    void **held = po_new(box);
    held[0] = new_hooked(hooked_type(heap, replace_owner), 0, NULL);
    *(void **)(observer + 1) = held;
    observer->left = node;
    node->left = observer;
    observer->right = po_weak_create(node, count_call, NULL);
    po_weak_set_owner(observer->right, observer);
    late_address = observer;
    calls = 0;
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(calls, 1);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
make_another(po_weak *weak, void *context)
{
    calls++;
    po_decref(po_new(context));
    cr_assert_null(po_weak_get(weak));
}

Test(weak, callbacks_may_allocate_and_collect)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    for (int i = 0; i < 300; i++) {
        void *ring = new_ring(type, 3), *node = po_new(type);
        weaks[i] = po_weak_create(i % 2 ? ring : node, make_another, type);
        po_decref(ring);
        po_decref(node);
    }
    po_gc_collect(heap, 2);
    cr_assert_eq(calls, 300);
    for (int i = 0; i < 300; i++)
        po_weak_destroy(weaks[i]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(weak, they_outlive_their_heap)
{
    for (int round = 0; round < 3; round++) {
        po_heap *heap = new_heap();
        po_type *type = node_type(heap);
        void *dead = po_new(type);
        po_weak *first = po_weak_create(po_new(type), count_call, NULL), *second = po_weak_create(dead, NULL, NULL);
        po_decref(dead);
        cr_assert_eq(po_heap_destroy(heap), 1);
        po_heap *next = new_heap();
        cr_assert_null(po_weak_get(first));
        cr_assert_null(po_weak_get(second));
        po_weak_destroy(first);
        po_weak_destroy(second);
        cr_assert_eq(calls, 0);
        po_heap_destroy(next);
    }
}

static void
get_destroyed(void)
{
    po_heap *heap = new_heap();
    po_weak *weak = po_weak_create(po_new(node_type(heap)), NULL, NULL);
    po_weak_destroy(weak);
    po_weak_get(weak);
}

static void
destroy_twice(void)
{
    po_heap *heap = new_heap();
    po_weak *weak = po_weak_create(po_new(node_type(heap)), NULL, NULL);
    po_weak_destroy(weak);
    po_weak_destroy(weak);
}

Test(weak, one_that_was_destroyed_ends_the_program)
{
    require_abort(get_destroyed, "poolobject: po_weak_get: the weak reference was destroyed\n");
    require_abort(destroy_twice, "poolobject: po_weak_destroy: the weak reference was destroyed\n");
}
