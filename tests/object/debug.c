/* SPDX-License-Identifier: MIT
 *
 * Mistakes and the modes that find them: points 7, 8 and 14. Each runs in a child, whose lines are compared whole.
 */
#include "support.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static po_heap *
debug_heap(const char *modes)
{
    setenv("POOLOBJECT_DEBUG", modes, 1);
    return po_heap_create(NULL);
}

/* ---- Point 8: counts that are too small ---- */

static void
forget_incref(po_heap *heap)
{
    static const uint16_t references[] = {0, PO_END};
    po_type *owner = po_type_create(
        heap, &(struct po_type_spec){.name = "owner", .size = 8, .references = references});
    void *node = po_new(node_type(heap));
    for (int i = 0; i < 3; i++) {
        void **slot = po_new(owner);
        *slot = node; /* three references, one counted */
    }
}

static void
verify_too_small(void)
{
    po_heap *heap = new_heap();
    forget_incref(heap);
    po_heap_verify(heap);
}

static void
collect_too_small_young(void)
{
    po_heap *heap = new_heap();
    forget_incref(heap);
    po_gc_collect(heap, 0);
}

static void
collect_too_small_old(void)
{
    po_heap *heap = new_heap();
    forget_incref(heap);
    po_gc_collect(heap, 2);
}

Test(debug, a_count_that_is_too_small_ends_the_program)
{
    const char *line = "poolobject: an object of type node has a count less than the references to it, one of them from "
                       "type owner\n";
    require_abort(verify_too_small, line);
    require_abort(collect_too_small_young, line);
    require_abort(collect_too_small_old, line);
}

static void
store_foreign(void)
{
    po_heap *one = new_heap(), *two = new_heap();
    struct node *node = po_new(node_type(one));
    po_set(&node->left, po_new(node_type(two)));
}

static void
collect_foreign(void)
{
    po_heap *one = new_heap(), *two = new_heap();
    struct node *node = po_new(node_type(one));
    node->left = po_new(node_type(two));
    po_gc_collect(one, 2);
}

Test(debug, an_object_of_another_heap_ends_the_program)
{
    require_abort(store_foreign, "poolobject: an object of type node was stored in an object of another heap\n");
    require_abort(collect_foreign, "poolobject: an object of type node is referred to by an object of another heap\n");
}

/* ---- leak ---- */

static void
leak_some(void)
{
    po_heap *heap = debug_heap("leak");
    po_type *type = node_type(heap);
    struct node *kept = new_node(type, po_string(heap, "abc", 3), new_node(type, NULL, NULL));
    (void)kept;
    po_heap_destroy(heap);
}

static void
leak_at_exit(void)
{
    po_heap *heap = debug_heap("leak");
    po_new(node_type(heap));
    exit(0);
}

static void
leak_nothing(void)
{
    po_heap *heap = debug_heap("leak");
    struct node *ring = new_ring(node_type(heap), 3);
    po_decref(ring);
    po_int(heap, 1);
    po_heap_destroy(heap);
}

Test(debug, leaks_are_listed_by_type_with_a_path)
{
    cr_assert_str_eq(stderr_of(leak_some),
                     "poolobject: leak: 1 of type string, 24 bytes; one, with 1 references, by outside > node > string\n"
                     "poolobject: leak: 2 of type node, 48 bytes; one, with 1 references, by outside > node\n");
    cr_assert_str_eq(stderr_of(leak_at_exit),
                     "poolobject: leak: 1 of type node, 24 bytes; one, with 1 references, by outside > node\n");
    cr_assert_str_eq(stderr_of(leak_nothing), "");
}

/* ---- verify ---- */

struct hidden {
    void *declared;
    uint64_t number;
    void *undeclared;
};

static void
hide_reference(void)
{
    po_heap *heap = debug_heap("verify");
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "hidden", .size = sizeof(struct hidden), .references = references});
    void *node = po_new(node_type(heap));
    for (int i = 0; i < 3; i++) {
        struct hidden *hidden = po_new(type);
        hidden->number = i;
        hidden->declared = po_incref(node);
        hidden->undeclared = po_incref(node);
    }
    po_gc_collect(heap, 2);
    po_gc_collect(heap, 2);
}

Test(debug, references_that_a_type_does_not_declare_are_named)
{
    cr_assert_str_eq(stderr_of(hide_reference), "poolobject: type hidden has what looks like a reference to a node at "
                                                "offset 16 that it does not declare\n");
}

/* ---- Point 7 ---- */

static po_type *other_type;
static void *other_object;
static int how;

static void
bad_traverse(void *object, po_visitor *visit, void *context)
{
    (void)object, (void)visit, (void)context;
    if (how == 0)
        po_new(other_type);
    else if (how == 1)
        po_incref(other_object);
    else
        po_decref(other_object);
}

static void
traverse_badly(void)
{
    po_heap *heap = debug_heap("verify");
    other_type = node_type(heap);
    other_object = po_new(other_type);
    po_incref(other_object);
    po_new(po_type_create(heap, &(struct po_type_spec){.name = "bad", .size = 8, .traverse = bad_traverse}));
    po_gc_collect(heap, 2);
}

Test(debug, a_traverse_that_does_more_is_named)
{
    how = 0;
    require_abort(traverse_badly, "poolobject: po_new: called by the traverse function of type bad\n");
    how = 1;
    require_abort(traverse_badly, "poolobject: po_incref: called by the traverse function of type bad\n");
    how = 2;
    require_abort(traverse_badly, "poolobject: po_decref: called by the traverse function of type bad\n");
}

/* ---- torture ---- */

static int built;

static void
build_under_torture(void)
{
    po_heap *heap = debug_heap("torture");
    po_type *type = node_type(heap);
    struct po_gc_stats stats[3];
    void *list = NULL;
    for (built = 0; built < 200; built++) {
        list = new_node(type, po_string(heap, "x", 1), list);
        po_decref(new_ring(type, 2));
    }
    po_gc_get_stats(heap, stats);
    if (stats[2].collections < 600 || stats[2].collected < 2 * 199 || objects_in(heap) > 402)
        abort();
    po_decref(list);
    if (po_heap_destroy(heap) != 0)
        abort();
}

Test(debug, torture_collects_at_every_object)
{
    cr_assert_str_eq(stderr_of(build_under_torture), "");
}

/* ---- Point 14: thread ---- */

static void *shared_pointer;

static void *
foreign_new(void *type)
{
    po_new(type);
    return NULL;
}

static void *
foreign_release(void *object)
{
    po_decref(object);
    return NULL;
}

static void *
adopt_and_use(void *type)
{
    po_heap_adopt(shared_pointer);
    po_decref(po_new(type));
    return NULL;
}

static void
run(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    pthread_create(&thread, NULL, function, argument);
    pthread_join(thread, NULL);
}

static void
new_by_foreign_thread(void)
{
    run(foreign_new, node_type(debug_heap("thread")));
}

static void
release_by_foreign_thread(void)
{
    void *node = po_new(node_type(debug_heap("thread")));
    po_incref(node); /* not the last reference: inline code sees it all the same */
    run(foreign_release, node);
}

static void
handed_over(void)
{
    po_heap *heap = debug_heap("thread");
    po_type *type = node_type(heap);
    void *shared = po_new(type);
    po_share(shared);
    run(foreign_release, shared);
    shared_pointer = heap;
    run(adopt_and_use, type);
    po_heap_adopt(heap);
    po_heap_destroy(heap);
}

Test(debug, a_foreign_thread_is_named)
{
    require_abort(new_by_foreign_thread, "poolobject: po_new: the heap belongs to another thread\n");
    require_abort(release_by_foreign_thread, "poolobject: po_decref: the heap belongs to another thread\n");
    cr_assert_str_eq(stderr_of(handed_over), "");
}

/* ---- stats, and words that are none ---- */

static void
with_stats(void)
{
    po_heap *heap = debug_heap("stats,nonsense");
    new_ring(node_type(heap), 3);
    po_heap_destroy(heap);
}

Test(debug, statistics_and_unknown_words)
{
    const char *text = stderr_of(with_stats);
    cr_assert_not_null(strstr(text, "poolobject: POOLOBJECT_DEBUG has no mode nonsense; it has leak, torture, verify, "
                                    "thread and stats\n"));
    cr_assert_not_null(strstr(text, "poolobject: a heap\n  objects alive                        3\n"), "%s", text);
    cr_assert_not_null(strstr(text, "  node                                 3            72"), "%s", text);
}

static void
print_json(void)
{
    po_heap *heap = new_heap();
    po_type_create(heap, &(struct po_type_spec){.name = "a \"quoted\"\n", .size = 8});
    po_decref(new_ring(node_type(heap), 3));
    po_gc_collect(heap, 2);
    po_heap_print_stats(heap, 2, true);
}

Test(debug, statistics_as_json)
{
    const char *text = stderr_of(print_json);
    cr_assert_not_null(strstr(text, "{\"objects\": 0, \"bytes\": 0,"), "%s", text);
    cr_assert_not_null(strstr(text, "{\"name\": \"a \\\"quoted\\\"\\u000a\", \"objects\": 0,"), "%s", text);
    cr_assert_not_null(strstr(text, "{\"name\": \"node\", \"objects\": 0, \"bytes\": 0, \"found_in_cycles\": 3}"), "%s",
                       text);
}
