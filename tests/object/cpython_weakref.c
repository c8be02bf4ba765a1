/* SPDX-License-Identifier: MIT
 *
 * The semantics of CPython's test_weakref, as far as they apply in C. Each case names the test it corresponds to.
 * Proxies, comparison and hashing of weak references, subclasses and dictionaries of them have no equivalent.
 *
 * A weak reference is here no object. What is "a weak reference in a cycle" in Python is one with an owner
 * (po_weak_set_owner). Callbacks are called in the order in which the weak references were created; CPython calls the
 * newest first.
 */
#include "support.h"

#include <errno.h>
#include <stddef.h>

/* An object with a weak reference of its own, which dies with it. */
struct watcher {
    void *first, *second;
    po_weak *weak;
};

static unsigned calls;
static po_heap *heap;
static po_type *type, *watcher_type;

static void
watcher_destroy(void *object)
{
    po_weak_destroy(((struct watcher *)object)->weak);
}

static void
set_up(void)
{
    static const uint16_t references[] = {0, 8, PO_END};
    heap = new_heap();
    type = node_type(heap);
    watcher_type = po_type_create(heap, &(struct po_type_spec){.name = "watcher",
                                                               .size = sizeof(struct watcher),
                                                               .references = references,
                                                               .destroy = watcher_destroy});
    cr_assert_not_null(watcher_type);
}

static void
tear_down(void)
{
    po_gc_collect(heap, 2);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

TestSuite(cpython_weakref, .init = set_up, .fini = tear_down);

static void
count_call(po_weak *weak, void *context)
{
    (void)context;
    cr_assert_null(po_weak_get(weak));
    calls++;
}

/* ---- By the count ---- */

/* test_basic_ref */
Test(cpython_weakref, basic)
{
    void *object = po_new(type), *text = po_string(heap, "text", 4), *large = NULL;
    po_type *large_type = po_type_create(heap, &(struct po_type_spec){.name = "large", .size = 5000});
    large = po_new(large_type);
    void *objects[] = {object, text, large};
    for (int i = 0; i < 3; i++) {
        po_weak *weak = po_weak_create(objects[i], NULL, NULL);
        void *again = po_weak_get(weak);
        cr_assert_eq(again, objects[i]);
        po_decref(again);
        po_decref(objects[i]);
        cr_assert_null(po_weak_get(weak));
        po_weak_destroy(weak);
    }
}

/* test_basic_callback, test_multiple_callbacks */
Test(cpython_weakref, callbacks)
{
    void *object = po_new(type);
    po_weak *first = po_weak_create(object, count_call, NULL), *second = po_weak_create(object, count_call, NULL);
    cr_assert_neq(first, second);
    po_decref(object);
    cr_assert_eq(calls, 2);
    cr_assert_null(po_weak_get(first));
    cr_assert_null(po_weak_get(second));
    po_weak_destroy(first);
    po_weak_destroy(second);
}

static po_weak *several[8];
static int order[8];

static void
all_are_clear(po_weak *weak, void *context)
{
    (void)weak;
    for (int i = 0; i < 8; i++)
        cr_assert_null(po_weak_get(several[i]));
    order[calls++] = (int)(intptr_t)context;
}

/* test_multiple_selfref_callbacks: all are cleared before the first is called */
Test(cpython_weakref, all_are_cleared_before_one_is_called)
{
    for (int in_a_ring = 0; in_a_ring < 2; in_a_ring++) {
        void *object = in_a_ring ? new_ring(type, 1) : po_new(type);
        for (int i = 0; i < 8; i++)
            several[i] = po_weak_create(object, i % 4 == 3 && !in_a_ring ? NULL : all_are_clear, (void *)(intptr_t)i);
        calls = 0;
        po_decref(object);
        po_gc_collect(heap, 2);
        cr_assert_eq(calls, in_a_ring ? 8 : 6);
        for (unsigned i = 1; i < calls; i++)
            cr_assert_gt(order[i], order[i - 1], "in the order in which they were created");
        for (int i = 0; i < 8; i++)
            po_weak_destroy(several[i]);
    }
}

/* test_ref_reuse, test_getweakrefcount: each call makes one of its own, all counted */
Test(cpython_weakref, they_are_counted)
{
    void *object = po_new(type);
    struct po_heap_stats stats;
    for (int i = 0; i < 8; i++)
        several[i] = po_weak_create(object, NULL, NULL);
    po_heap_get_stats(heap, &stats);
    cr_assert_eq(stats.weak_references, 8);
    for (int i = 0; i < 8; i += 2)
        po_weak_destroy(several[i]);
    po_heap_get_stats(heap, &stats);
    cr_assert_eq(stats.weak_references, 4);
    po_decref(object);
    for (int i = 1; i < 8; i += 2) {
        cr_assert_null(po_weak_get(several[i]));
        po_weak_destroy(several[i]);
    }
    po_heap_get_stats(heap, &stats);
    cr_assert_eq(stats.weak_references, 0);
}

/* test_set_callback_attribute, test_callback_gcs: a weak reference that is destroyed first does not call */
Test(cpython_weakref, one_that_was_destroyed_does_not_call)
{
    void *object = po_new(type);
    po_weak *weak = po_weak_create(object, count_call, NULL);
    po_weak_destroy(weak);
    po_decref(object);
    cr_assert_eq(calls, 0);
}

/* ---- Collections that callbacks start ---- */

static void
collect_in_callback(po_weak *weak, void *context)
{
    count_call(weak, context);
    po_gc_collect(heap, 2);
    po_heap_verify(heap);
}

/* test_sf_bug_840829: the collector must not find an object that is being released */
Test(cpython_weakref, callbacks_that_collect)
{
    void *object = po_new(type);
    po_weak *weak = po_weak_create(object, collect_in_callback, NULL);
    po_decref(object);
    cr_assert_eq(calls, 1);
    po_weak_destroy(weak);
    /* Deeper: c2 > c1 > i. */
    void *i = po_new(type), *c1 = new_node(type, i, NULL), *c2 = new_node(type, c1, NULL);
    weak = po_weak_create(i, collect_in_callback, NULL);
    po_weak *other = po_weak_create(c1, collect_in_callback, NULL);
    po_decref(c2);
    cr_assert_eq(calls, 3);
    po_weak_destroy(weak);
    po_weak_destroy(other);
}

/* test_ref_created_during_del */
static po_weak *from_finalizer, *from_destroy;

static void
make_weak_of_itself(void *object)
{
    from_finalizer = po_weak_create(object, count_call, NULL);
    void *self = po_weak_get(from_finalizer);
    cr_assert_eq(self, object);
    po_decref(self);
}

static void
try_weak_of_itself(void *object)
{
    errno = 0;
    from_destroy = po_weak_create(object, NULL, NULL);
    cr_assert_eq(errno, EINVAL);
}

Test(cpython_weakref, one_that_the_finalizer_makes)
{
    static const uint16_t references[] = {0, PO_END};
    po_type *target = po_type_create(heap, &(struct po_type_spec){.name = "target",
                                                                  .size = 8,
                                                                  .references = references,
                                                                  .finalize = make_weak_of_itself,
                                                                  .destroy = try_weak_of_itself});
    void **object = po_new(target);
    po_decref(object);
    cr_assert_null(po_weak_get(from_finalizer));
    cr_assert_null(from_destroy);
    cr_assert_eq(calls, 1);
    po_weak_destroy(from_finalizer);
    /* In a ring: it was made after callbacks were called, so it is cleared in silence. */
    object = po_new(target);
    object[0] = object;
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert_null(po_weak_get(from_finalizer));
    cr_assert_null(from_destroy);
    cr_assert_eq(calls, 1);
    po_weak_destroy(from_finalizer);
}

/* test_gc_during_ref_creation */
Test(cpython_weakref, creation_next_to_collections)
{
    po_heap *busy = po_heap_create(NULL);
    po_gc_set_threshold(busy, (const unsigned[]){1, 1, 1});
    po_type *node = node_type(busy);
    void *referenced = po_new(node);
    for (int i = 0; i < 200; i++) {
        struct node *loop = new_ring(node, 1);
        po_weak *first = po_weak_create(loop, count_call, NULL), *second = po_weak_create(referenced, count_call, NULL);
        po_decref(loop);
        po_decref(new_ring(node, 2));
        po_gc_collect(busy, 0);
        cr_assert_null(po_weak_get(first));
        void *object = po_weak_get(second);
        cr_assert_eq(object, referenced);
        po_decref(object);
        po_weak_destroy(first);
        po_weak_destroy(second);
    }
    cr_assert_eq(calls, 200);
    po_decref(referenced);
    po_gc_collect(busy, 2);
    cr_assert_eq(po_heap_destroy(busy), 0);
}

/* ---- Weak references in cyclic trash ---- */

static struct watcher *
new_watcher(void *watched, void (*callback)(po_weak *, void *))
{
    struct watcher *watcher = po_new(watcher_type);
    watcher->weak = po_weak_create(watched, callback, watcher);
    po_weak_set_owner(watcher->weak, watcher);
    return watcher;
}

static void
must_not_be_called(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    cr_assert_fail("a callback of a dead owner is called");
}

/* test_callback_in_cycle, test_callback_different_classes */
Test(cpython_weakref, an_owner_in_a_ring_with_its_subject)
{
    struct node *subject = new_ring(type, 1);
    struct watcher *watcher = new_watcher(subject, must_not_be_called);
    watcher->first = watcher;
    watcher->second = subject;
    cr_assert_eq(po_gc_collect(heap, 2), 2);
}

/* test_callback_reachable_one_way: the owner refers to the subject, which does not refer back, and is in no ring */
Test(cpython_weakref, a_subject_that_hangs_on_its_owner)
{
    void *subject = po_new(type);
    struct watcher *watcher = new_watcher(subject, must_not_be_called);
    watcher->first = watcher;
    watcher->second = subject;
    cr_assert_eq(po_gc_collect(heap, 2), 2);
}

/* The other way: the owner hangs on the subject's ring. */
Test(cpython_weakref, an_owner_that_hangs_on_its_subject)
{
    struct node *subject = new_ring(type, 2);
    subject->left = new_watcher(subject, must_not_be_called);
    po_decref(subject);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
}

static unsigned resurrections;

static void
try_to_resurrect(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    resurrections++;
}

/* test_callback_in_cycle_resurrection: two that watch each other; one from outside watches as well */
Test(cpython_weakref, trash_is_not_resurrected_by_its_own_callbacks)
{
    struct watcher *first = po_new(watcher_type), *second = po_new(watcher_type);
    first->first = second;
    second->first = first;
    first->weak = po_weak_create(second, try_to_resurrect, first);
    second->weak = po_weak_create(first, try_to_resurrect, second);
    po_weak_set_owner(first->weak, first);
    po_weak_set_owner(second->weak, second);
    po_weak *outside = po_weak_create(first, count_call, NULL);
    cr_assert_eq(calls, 0);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(resurrections, 0);
    cr_assert_eq(calls, 1);
    cr_assert_null(po_weak_get(outside));
    po_gc_collect(heap, 2);
    cr_assert_eq(calls, 1);
    po_weak_destroy(outside);
}

/* test_callbacks_on_callback: a watcher that is watched */
Test(cpython_weakref, a_watcher_that_is_watched)
{
    struct watcher *c = po_new(watcher_type), *d = po_new(watcher_type);
    void *bound = po_new(type);
    c->first = d;
    d->first = c;
    c->second = bound;
    c->weak = po_weak_create(d, must_not_be_called, NULL);
    d->weak = po_weak_create(bound, must_not_be_called, NULL);
    po_weak_set_owner(c->weak, c);
    po_weak_set_owner(d->weak, d);
    po_weak *outside = po_weak_create(bound, count_call, NULL);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    cr_assert_eq(calls, 1);
    cr_assert_null(po_weak_get(outside));
    po_weak_destroy(outside);
}

/* A callback outside the trash is called, whoever made it; an owner that lives does not silence it. */
Test(cpython_weakref, an_owner_that_lives)
{
    struct node *subject = new_ring(type, 2);
    struct watcher *watcher = new_watcher(subject, count_call);
    po_decref(subject);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(calls, 1);
    cr_assert_null(po_weak_get(watcher->weak));
    po_decref(watcher);
}

/* ---- Callbacks that do more ---- */

static po_weak *made[4];
static unsigned made_count;

/* Garbage, and a weak reference to it with a callback, which dies in the next collection. */
static void
make_garbage(po_weak *weak, void *context)
{
    count_call(weak, context);
    if (made_count == 4)
        return;
    void *ring = new_ring(type, 3);
    made[made_count++] = po_weak_create(ring, make_garbage, NULL);
    po_decref(ring);
    po_decref(new_ring(type, 2));
}

/* What a callback leaves behind is found by the next collection. */
Test(cpython_weakref, callbacks_that_create_garbage_and_weak_references)
{
    void *ring = new_ring(type, 3);
    po_weak *weak = po_weak_create(ring, make_garbage, NULL);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    for (unsigned round = 1; round <= 4; round++) {
        cr_assert(calls == round && made_count == round);
        cr_assert_eq(po_gc_collect(heap, 2), 5);
    }
    cr_assert_eq(calls, 5);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    po_weak_destroy(weak);
    for (unsigned i = 0; i < 4; i++)
        po_weak_destroy(made[i]);
}

static po_weak *renewed;

/* A new weak reference to another condemned object, which a weak reference without a callback gave. */
static void
renew(po_weak *weak, void *context)
{
    count_call(weak, context);
    void *other = po_weak_get(made[0]);
    cr_assert_not_null(other);
    renewed = po_weak_create(other, count_call, NULL);
    po_decref(other);
}

Test(cpython_weakref, a_new_weak_reference_to_a_condemned_object)
{
    struct node *ring = new_ring(type, 2);
    po_weak *weak = po_weak_create(ring, renew, NULL);
    made[0] = po_weak_create(ring->right, NULL, NULL);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_null(po_weak_get(renewed));
    cr_assert_null(po_weak_get(made[0]));
    po_gc_collect(heap, 2);
    cr_assert_leq(calls, 2);
    po_weak_destroy(weak);
    po_weak_destroy(renewed);
    po_weak_destroy(made[0]);
}

static void *held_by_callback;

static void
release_another(po_weak *weak, void *context)
{
    count_call(weak, context);
    po_clear(&held_by_callback);
}

/* A callback drops the last reference to an object that is watched too: callbacks within callbacks, a hundred deep. */
static struct link {
    void *object;
    po_weak *weak;
} links[100];

static void
release_next(po_weak *weak, void *context)
{
    struct link *link = context;
    count_call(weak, NULL);
    if (link + 1 < links + 100)
        po_clear(&link[1].object);
}

Test(cpython_weakref, callbacks_within_callbacks)
{
    for (int i = 0; i < 100; i++) {
        links[i].object = po_new(type);
        links[i].weak = po_weak_create(links[i].object, release_next, &links[i]);
    }
    po_clear(&links[0].object);
    cr_assert_eq(calls, 100);
    for (int i = 0; i < 100; i++)
        po_weak_destroy(links[i].weak);
    held_by_callback = new_ring(type, 1);
    void *object = po_new(type);
    po_weak *weak = po_weak_create(object, release_another, NULL);
    po_decref(object);
    cr_assert_eq(calls, 101);
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    po_weak_destroy(weak);
}

/* ---- Many ---- */

/* What dictionaries of weak references do in their tests: a cache of a hundred thousand, of which one half dies at once
 * and the other later, by counts and by collections. */
Test(cpython_weakref, a_hundred_thousand)
{
    enum { COUNT = 100000 };
    static void *objects[COUNT];
    static po_weak *weaks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = i % 3 == 0 ? new_ring(type, 1) : po_new(type);
        weaks[i] = po_weak_create(objects[i], i % 2 ? count_call : NULL, NULL);
    }
    for (size_t i = 0; i < COUNT; i += 2)
        po_decref(objects[i]);
    cr_assert_eq(calls, 0);
    po_gc_collect(heap, 2);
    for (size_t i = 0; i < COUNT; i++) {
        void *object = po_weak_get(weaks[i]);
        cr_assert_eq(object, i % 2 ? objects[i] : NULL);
        po_decref(object);
    }
    for (size_t i = 1; i < COUNT; i += 2)
        po_decref(objects[i]);
    po_gc_collect(heap, 2);
    cr_assert_eq(calls, COUNT / 2);
    for (size_t i = 0; i < COUNT; i++)
        po_weak_destroy(weaks[i]);
}
