/* SPDX-License-Identifier: MIT
 *
 * Point 2: a release of any depth takes constant C stack, no memory, and does not fail; also on a thread of 64 KiB.
 * And what is not linked in the usual way.
 */
#include "support.h"

#include "object.h"
#include "release.h"

#include <pthread.h>
#include <stddef.h>

static po_type *type;

static void *
long_list(size_t count)
{
    void *list = NULL;
    while (count-- > 0)
        list = new_node(type, NULL, list);
    return list;
}

static void *
deep_tree(unsigned depth)
{
    return depth == 0 ? NULL : new_node(type, deep_tree(depth - 1), deep_tree(depth - 1));
}

static void *
release(void *object)
{
    po_memory_budget = 0;
    po_decref(object);
    po_memory_budget = -1;
    return NULL;
}

/* On a thread with the smallest stack that pthreads grants, 64 KiB at most. */
static void
release_on_small_stack(void *object)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, 65536), 0);
    cr_assert_eq(pthread_create(&thread, &attributes, release, object), 0);
    pthread_join(thread, NULL);
}

Test(release, a_list_of_ten_million)
{
    po_heap *heap = new_heap();
    type = node_type(heap);
    release_on_small_stack(long_list(10000000));
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(release, a_tree_and_a_graph)
{
    po_heap *heap = new_heap();
    type = node_type(heap);
    release_on_small_stack(deep_tree(18));
    cr_assert_eq(objects_in(heap), 0);
    /* Each node refers to the two made before it: all but the first two have two references. */
    void *first = NULL, *second = NULL;
    for (int i = 0; i < 200000; i++) {
        void *node = new_node(type, first, po_incref(second));
        first = second;
        second = node;
    }
    po_decref(first);
    release_on_small_stack(second);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(release, a_chain_through_large_objects_items_and_custom_types)
{
    po_heap *heap = new_heap();
    po_type *vector = po_type_create(
        heap, &(struct po_type_spec){.name = "vector", .item_size = 8, .items_are_references = true});
    type = node_type(heap);
    void *chain = NULL;
    for (size_t i = 0; i < 100000; i++) {
        void **items = po_new_items(vector, i % 3 == 0 ? 100 : 3);
        items[i % 3] = chain;
        chain = new_node(type, items, NULL);
    }
    release_on_small_stack(chain);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
finalize_nothing(void *object)
{
    (void)object;
}

/* Each finalizer's object is released in the frame of the one before, up to a bound. */
static void
drop_next(void *object)
{
    po_clear(&((struct hooked *)object)->next);
}

Test(release, finalizers_do_not_deepen_the_stack)
{
    for (int how = 0; how < 2; how++) {
        po_heap *heap = new_heap();
        po_type *hooked = hooked_type(heap, how == 0 ? finalize_nothing : drop_next);
        void *chain = NULL;
        for (int i = 0; i < 300000; i++)
            chain = new_hooked(hooked, 0, chain);
        release_on_small_stack(chain);
        cr_assert_eq(objects_in(heap), 0);
        cr_assert_eq(po_heap_destroy(heap), 0);
    }
}

/* What lies too far away for a link waits, and is found by a walk. */
Test(release, zombies)
{
    po_heap *heap = new_heap();
    type = node_type(heap);
    void *tree = deep_tree(12), *list = long_list(1000);
    po_link_limit = 0;
    po_decref(tree);
    cr_assert_eq(objects_in(heap), 1000);
    po_decref(list);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- A release too many ---- */

static void
release_twice(void)
{
    po_heap *heap = new_heap();
    void *node = po_new(node_type(heap));
    po_decref(node);
    po_decref(node);
}

static void
release_in_destroy(void *object)
{
    po_decref(object);
}

static void
release_while_dying(void)
{
    po_heap *heap = new_heap();
    po_decref(po_new(po_type_create(
        heap, &(struct po_type_spec){.name = "suicide", .size = 8, .destroy = release_in_destroy})));
}

static void
take_in_destroy(void *object)
{
    po_incref(object);
}

static void
take_while_dying(void)
{
    po_heap *heap = new_heap();
    po_decref(po_new(
        po_type_create(heap, &(struct po_type_spec){.name = "late", .size = 8, .destroy = take_in_destroy})));
}

Test(release, a_release_too_many_ends_the_program)
{
    require_abort(release_twice,
                  "poolobject: po_decref: no object is there: released more often than referenced\n");
    require_abort(release_while_dying,
                  "poolobject: po_decref: an object of type suicide was released more often than referenced\n");
    require_abort(take_while_dying, "poolobject: po_incref: an object of type late is being destroyed\n");
}
