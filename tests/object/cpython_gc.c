/* SPDX-License-Identifier: MIT
 *
 * The semantics of CPython's test_gc, as far as they apply in C. Each case names the test it corresponds to.
 *
 * What has no equivalent: gc.garbage and DEBUG_SAVEALL (nothing is kept back; an uncollectable object stays where it is
 * and is counted), __getattr__ in the middle of a collection (test_boom), frames, modules and classes.
 */
#include "support.h"

#include <stddef.h>
#include <string.h>

/* Several types, as a Python program has them: a list and a dict with items, a tuple that is fixed, an instance. */
struct zoo {
    po_heap *heap;
    po_type *list, *dict, *tuple, *instance;
};

struct instance {
    void *attribute;
    uint64_t number;
    void *other;
};

static struct zoo
make_zoo(void)
{
    static const uint16_t pair[] = {0, 8, PO_END};
    static const uint16_t attributes[] = {offsetof(struct instance, attribute), offsetof(struct instance, other),
                                          PO_END};
    struct zoo zoo = {.heap = new_heap()};
    zoo.list = po_type_create(
        zoo.heap, &(struct po_type_spec){.name = "list", .size = 8, .item_size = 8, .items_are_references = true});
    zoo.dict = po_type_create(zoo.heap, &(struct po_type_spec){.name = "dict",
                                                               .size = 16,
                                                               .references = pair,
                                                               .item_size = 8,
                                                               .items_are_references = true});
    zoo.tuple = po_type_create(zoo.heap, &(struct po_type_spec){.name = "tuple", .size = 16, .references = pair});
    zoo.instance = po_type_create(
        zoo.heap,
        &(struct po_type_spec){.name = "instance", .size = sizeof(struct instance), .references = attributes});
    cr_assert(zoo.list && zoo.dict && zoo.tuple && zoo.instance);
    return zoo;
}

static void **
items_of(void *list)
{
    return (void **)((char *)list + 8);
}

/* ---- Cycles ---- */

/* test_list, test_dict, test_instance, test_newinstance */
Test(cpython_gc, an_object_of_each_type_that_refers_to_itself)
{
    struct zoo zoo = make_zoo();
    void *list = po_new_items(zoo.list, 3);
    po_set(&items_of(list)[1], list);
    po_gc_collect(zoo.heap, 2);
    cr_assert_eq(po_refcount(list), 2);
    po_decref(list);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 1);
    void **dict = po_new_items(zoo.dict, 1);
    po_set(&dict[1], dict); /* in the table */
    po_set(&dict[2], dict); /* and in an item */
    po_decref(dict);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 1);
    struct instance *instance = po_new(zoo.instance);
    po_set(&instance->attribute, instance);
    po_decref(instance);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 1);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 0);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* test_tuple, test_method, test_function: two or more types close a ring */
Test(cpython_gc, rings_of_several_types)
{
    struct zoo zoo = make_zoo();
    void *list = po_new_items(zoo.list, 1);
    void **tuple = po_new(zoo.tuple);
    po_set(&tuple[0], list);
    po_set(&items_of(list)[0], tuple);
    po_decref(tuple);
    po_decref(list);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 2);
    /* list > dict > tuple > instance > a list of 200, which is not in a pool > the first list */
    list = po_new_items(zoo.list, 1);
    void **dict = po_new_items(zoo.dict, 5), *large = po_new_items(zoo.list, 200);
    struct instance *instance = po_new(zoo.instance);
    tuple = po_new(zoo.tuple);
    items_of(list)[0] = dict;
    dict[6] = tuple;
    tuple[1] = instance;
    instance->other = large;
    items_of(large)[199] = list;
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 5);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* test_class: what hangs on a ring goes with it, and what something else holds stays */
Test(cpython_gc, a_ring_and_what_hangs_on_it)
{
    struct zoo zoo = make_zoo();
    struct instance *knot = po_new(zoo.instance), *held = po_new(zoo.instance);
    knot->attribute = po_incref(knot);
    void *tail = po_new_items(zoo.list, 2);
    knot->other = tail;
    items_of(tail)[0] = po_new(zoo.tuple);
    items_of(tail)[1] = po_incref(held);
    po_decref(knot);
    cr_assert_eq(po_gc_collect(zoo.heap, 2), 3);
    cr_assert_eq(po_refcount(held), 1);
    po_decref(held);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* ---- Finalizers that do things to the ring ---- */

static int outcome[HOOKED_MAX];

/* test_bug21435, test_boom: the ring comes apart while it is being finalized */
static void
break_the_ring(void *object)
{
    count_finalize(object);
    po_clear(&((struct hooked *)object)->next);
}

Test(cpython_gc, a_finalizer_that_breaks_its_ring)
{
    po_heap *heap = new_heap();
    po_type *type = hooked_type(heap, break_the_ring);
    struct hooked *a = new_hooked(type, 1, NULL), *b = new_hooked(type, 2, a);
    a->next = b;
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert(finalized[1] == 1 && finalized[2] == 1 && destroyed[1] == 1 && destroyed[2] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static po_heap *the_heap;
static po_type *the_type;
static unsigned automatic;

static void
count_collections(po_heap *heap, bool begins, int generation, void *context)
{
    (void)heap, (void)generation, (void)context;
    automatic += begins;
}

/* test_del, test_del_newclass: a finalizer's allocations start collections */
static void
allocate_in_finalizer(void *object)
{
    count_finalize(object);
    void *chain = NULL;
    for (int i = 0; i < 100; i++)
        chain = new_node(the_type, chain, NULL);
    po_decref(chain);
}

Test(cpython_gc, a_finalizer_that_starts_collections)
{
    the_heap = po_heap_create(NULL);
    po_gc_set_threshold(the_heap, (const unsigned[]){1, 1, 1});
    po_gc_set_callback(the_heap, count_collections, NULL);
    the_type = node_type(the_heap);
    po_type *type = hooked_type(the_heap, allocate_in_finalizer);
    void *object = new_hooked(type, 1, NULL);
    automatic = 0;
    po_decref(object);
    cr_assert(finalized[1] == 1 && destroyed[1] == 1);
    cr_assert_gt(automatic, 10);
    cr_assert_eq(objects_in(the_heap), 0);
    cr_assert_eq(po_heap_destroy(the_heap), 0);
}

/* test_function_tp_clear_leaves_consistent_state: a finalizer that runs late, since its object was held outside, looks
 * by a weak reference at an object whose references are being dropped. It must find it whole, or not at all. */
static void *late_object, *seen_late;
static po_weak *late_weak;

static void
finalize_cyclic(void *object)
{
    late_weak = po_weak_create(((struct node *)object)->left, NULL, NULL);
    po_clear(&late_object);
}

static void
finalize_late(void *object)
{
    (void)object;
    outcome[0]++;
    seen_late = po_weak_get(late_weak);
}

Test(cpython_gc, a_late_finalizer_finds_no_half_cleared_object)
{
    po_heap *heap = new_heap();
    static const uint16_t two[] = {0, 8, PO_END};
    po_type *cyclic = po_type_create(
        heap, &(struct po_type_spec){.name = "cyclic", .size = 16, .references = two, .finalize = finalize_cyclic});
    po_type *late = po_type_create(heap, &(struct po_type_spec){.name = "late", .size = 8, .finalize = finalize_late});
    struct node *ring = po_new(cyclic), *function = po_new(node_type(heap));
    late_object = po_new(late);
    ring->left = function;
    ring->right = po_incref(late_object);
    function->left = ring;
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(outcome[0], 1);
    cr_assert_null(seen_late);
    po_weak_destroy(late_weak);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Counts, generations, thresholds ---- */

/* test_get_count */
Test(cpython_gc, counts_of_generations)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    unsigned count[3];
    po_gc_collect(heap, 2);
    po_gc_get_count(heap, count);
    cr_assert(count[0] == 0 && count[1] == 0 && count[2] == 0);
    void *nodes[5];
    for (int i = 0; i < 5; i++)
        nodes[i] = po_new(type);
    po_gc_get_count(heap, count);
    cr_assert(count[0] == 5 && count[1] == 0 && count[2] == 0);
    /* Net of what was released; what the collector does not track does not count. */
    po_decref(nodes[0]);
    po_decref(po_string(heap, "text", 4));
    po_gc_get_count(heap, count);
    cr_assert_eq(count[0], 4);
    for (int i = 1; i < 5; i++)
        po_decref(nodes[i]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_collect_generations */
Test(cpython_gc, an_object_trickles_through_the_generations)
{
    po_heap *heap = new_heap();
    unsigned count[3];
    po_gc_collect(heap, 2);
    void *node = po_new(node_type(heap));
    po_gc_collect(heap, 0);
    po_gc_get_count(heap, count);
    cr_assert(count[0] == 0 && count[1] == 1 && count[2] == 0);
    po_gc_collect(heap, 1);
    po_gc_get_count(heap, count);
    cr_assert(count[0] == 0 && count[1] == 0 && count[2] == 1);
    po_gc_collect(heap, 2);
    po_gc_get_count(heap, count);
    cr_assert(count[0] == 0 && count[1] == 0 && count[2] == 0);
    po_decref(node);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

struct search {
    const void *object;
    unsigned found, all;
};

static void
look(void *object, void *context)
{
    struct search *search = context;
    search->all++;
    search->found += object == search->object;
}

static unsigned
found_in(po_heap *heap, int generation, const void *object)
{
    struct search search = {.object = object};
    po_gc_each(heap, generation, look, &search);
    return search.found;
}

/* test_get_objects, test_get_objects_arguments */
Test(cpython_gc, objects_of_each_generation)
{
    struct zoo zoo = make_zoo();
    void *list = po_new_items(zoo.list, 1), *large = po_new_items(zoo.list, 500);
    po_set(&items_of(list)[0], list);
    void *text = po_string(zoo.heap, "text", 4);
    for (int collected = -1; collected < 3; collected++) {
        if (collected >= 0)
            po_gc_collect(zoo.heap, collected);
        int lies_in = collected < 1 ? collected + 1 : 2;
        for (int generation = 0; generation < 3; generation++) {
            cr_assert_eq(found_in(zoo.heap, generation, list), generation == lies_in);
            cr_assert_eq(found_in(zoo.heap, generation, large), generation == lies_in);
        }
        cr_assert_eq(found_in(zoo.heap, -1, list), 1);
        cr_assert_eq(found_in(zoo.heap, -1, text), 0);
    }
    struct search all = {0}, sum = {0};
    po_gc_each(zoo.heap, -1, look, &all);
    for (int generation = 0; generation < 3; generation++)
        po_gc_each(zoo.heap, generation, look, &sum);
    cr_assert_eq(all.all, 2);
    cr_assert_eq(sum.all, 2);
    po_decref(text);
    po_decref(large);
    po_decref(list);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

static void
collect_wrong_generation(void)
{
    po_gc_collect(new_heap(), 3);
}

static void
each_of_wrong_generation(void)
{
    po_gc_each(new_heap(), -2, look, NULL);
}

/* test_get_objects_arguments: the ValueErrors */
Test(cpython_gc, a_generation_that_is_none)
{
    require_abort(collect_wrong_generation, "poolobject: po_gc_collect: no such generation\n");
    require_abort(each_of_wrong_generation, "poolobject: po_gc_each: no such generation\n");
}

/* gc.get_threshold, gc.set_threshold, gc.enable, gc.disable: their documentation, which test_gc relies on */
Test(cpython_gc, thresholds_and_the_switch)
{
    po_heap *heap = po_heap_create(NULL);
    unsigned threshold[3];
    po_gc_get_threshold(heap, threshold);
    cr_assert(threshold[0] == 700 && threshold[1] == 10 && threshold[2] == 10);
    po_gc_set_threshold(heap, (const unsigned[]){5, 6, 7});
    po_gc_get_threshold(heap, threshold);
    cr_assert(threshold[0] == 5 && threshold[1] == 6 && threshold[2] == 7);
    cr_assert(po_gc_is_enabled(heap));
    po_gc_disable(heap);
    cr_assert_not(po_gc_is_enabled(heap));
    po_type *type = node_type(heap);
    po_gc_set_callback(heap, count_collections, NULL);
    automatic = 0;
    for (int i = 0; i < 50; i++)
        po_decref(new_ring(type, 2));
    cr_assert_eq(automatic, 0, "disabled");
    cr_assert_eq(po_gc_collect(heap, 0), 100, "but for a collection by hand");
    po_gc_enable(heap);
    automatic = 0;
    for (int i = 0; i < 50; i++)
        po_decref(new_ring(type, 2));
    cr_assert_geq(automatic, 10);
    po_gc_set_threshold(heap, (const unsigned[]){0, 6, 7});
    automatic = 0;
    for (int i = 0; i < 50; i++)
        po_decref(new_ring(type, 2));
    cr_assert_eq(automatic, 0, "a threshold of 0 starts none");
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_get_stats */
Test(cpython_gc, statistics_of_generations)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    struct po_gc_stats before[3], after[3];
    po_gc_get_stats(heap, before);
    for (int i = 0; i < 3; i++)
        cr_assert(before[i].collections == 0 && before[i].collected == 0 && before[i].uncollectable == 0);
    po_decref(new_ring(type, 4));
    cr_assert_eq(po_gc_collect(heap, 0), 4);
    po_gc_get_stats(heap, after);
    cr_assert(after[0].collections == 1 && after[0].collected == 4);
    cr_assert(after[1].collections == 0 && after[2].collections == 0);
    cr_assert_leq(after[0].pause_ns_max, after[0].pause_ns_total);
    po_decref(new_ring(type, 7));
    cr_assert_eq(po_gc_collect(heap, 2), 7);
    po_gc_get_stats(heap, after);
    cr_assert(after[0].collections == 1 && after[1].collections == 0);
    cr_assert(after[2].collections == 1 && after[2].collected == 7 && after[2].uncollectable == 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_freeze */
Test(cpython_gc, freezing)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *ring = new_ring(type, 3), *text = po_string(heap, "text", 4);
    cr_assert_eq(po_gc_get_freeze_count(heap), 0);
    po_gc_freeze(heap);
    cr_assert_eq(po_gc_get_freeze_count(heap), 3);
    for (int generation = 0; generation < 2; generation++)
        cr_assert_eq(found_in(heap, generation, ring), 0);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 0, "frozen objects are not visited");
    po_decref(new_ring(type, 2));
    cr_assert_eq(po_gc_collect(heap, 2), 2, "others are");
    po_gc_unfreeze(heap);
    cr_assert_eq(po_gc_get_freeze_count(heap), 0);
    cr_assert_eq(po_gc_collect(heap, 1), 0, "they are part of the old generation");
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    po_decref(text);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Depth ---- */

static void
collect_each_17th(void *object)
{
    (void)object;
    if (++outcome[1] % 17 == 0)
        po_gc_collect(the_heap, 2);
}

/* test_trashcan: nested containers, each with an object whose finalizer now and then collects */
Test(cpython_gc, collections_within_deep_releases)
{
    struct zoo zoo = make_zoo();
    the_heap = zoo.heap;
    po_type *ouch =
        po_type_create(zoo.heap, &(struct po_type_spec){.name = "ouch", .size = 8, .finalize = collect_each_17th});
    enum { DEPTH = 1500 };
    for (int round = 0; round < 2; round++) {
        void *list = NULL, *tuple = NULL, *dict = NULL;
        outcome[1] = 0;
        for (int i = 0; i < DEPTH; i++) {
            void *next = po_new_items(zoo.list, 2), **pair = po_new(zoo.tuple), **table = po_new_items(zoo.dict, 1);
            items_of(next)[0] = list;
            items_of(next)[1] = po_new(ouch);
            list = next;
            pair[0] = tuple;
            pair[1] = po_new(ouch);
            tuple = pair;
            table[0] = po_new(ouch);
            table[2] = dict;
            dict = table;
        }
        po_decref(list);
        cr_assert_eq(outcome[1], DEPTH);
        po_decref(tuple);
        po_decref(dict);
        cr_assert_eq(outcome[1], 3 * DEPTH);
        cr_assert_eq(objects_in(zoo.heap), 0);
    }
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* test_trashcan once more, for a ring: one collection finds it all, and the release takes no stack. */
Test(cpython_gc, a_ring_that_is_a_million_deep)
{
    struct zoo zoo = make_zoo();
    void *bottom = po_new_items(zoo.list, 1), *top = bottom;
    enum { DEPTH = 1000000 };
    for (int i = 1; i < DEPTH; i++) {
        void *next = po_new_items(zoo.list, 1);
        items_of(next)[0] = top;
        top = next;
    }
    items_of(bottom)[0] = top;
    cr_assert_eq(po_gc_collect(zoo.heap, 2), DEPTH);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* ---- Looking at objects ---- */

static void
sum_numbers(void *referent, void *context)
{
    *(int64_t *)context += po_int_value(referent);
}

/* test_get_referents */
Test(cpython_gc, referents)
{
    struct zoo zoo = make_zoo();
    void *list = po_new_items(zoo.list, 4), **dict = po_new_items(zoo.dict, 2);
    for (int i = 0; i < 3; i++)
        items_of(list)[i] = po_int(zoo.heap, 1 + 2 * i);
    int64_t sum = 0;
    po_gc_each_referent(list, sum_numbers, &sum);
    cr_assert_eq(sum, 1 + 3 + 5);
    dict[0] = po_int(zoo.heap, 100000);
    dict[3] = po_int(zoo.heap, 5);
    sum = 0;
    po_gc_each_referent(dict, sum_numbers, &sum);
    cr_assert_eq(sum, 100005);
    /* Each reference is one, though the object is the same. */
    struct search search = {.object = list};
    void **tuple = po_new(zoo.tuple);
    tuple[0] = po_incref(list);
    tuple[1] = po_incref(list);
    po_gc_each_referent(tuple, look, &search);
    cr_assert(search.found == 2 && search.all == 2);
    /* An object that refers to nothing. */
    sum = 0;
    po_gc_each_referent(dict[0], sum_numbers, &sum);
    cr_assert_eq(sum, 0);
    /* But a referrer is one. */
    search = (struct search){.object = tuple};
    po_gc_each_referrer(list, look, &search);
    cr_assert(search.found == 1 && search.all == 1);
    po_decref(tuple);
    po_decref(list);
    po_decref(dict);
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

/* test_is_tracked */
Test(cpython_gc, what_is_tracked)
{
    struct zoo zoo = make_zoo();
    po_type *leaf = po_type_create(zoo.heap, &(struct po_type_spec){.name = "leaf", .size = 8, .flags = PO_ACYCLIC});
    void *untracked[] = {po_int(zoo.heap, 1), po_int(zoo.heap, 1000000), po_string(zoo.heap, "a", 1),
                         po_intern(zoo.heap, "a", 1), po_new(leaf)};
    for (size_t i = 0; i < sizeof untracked / sizeof untracked[0]; i++) {
        cr_assert_not(po_gc_is_tracked(untracked[i]));
        po_decref(untracked[i]);
    }
    void *tracked[] = {po_new(zoo.tuple), po_new(zoo.instance), po_new_items(zoo.list, 0), po_new_items(zoo.list, 1000),
                       po_new_items(zoo.dict, 1)};
    for (size_t i = 0; i < sizeof tracked / sizeof tracked[0]; i++) {
        cr_assert(po_gc_is_tracked(tracked[i]));
        po_decref(tracked[i]);
    }
    cr_assert_eq(po_heap_destroy(zoo.heap), 0);
}

static void *storage[HOOKED_MAX];
static unsigned stored;

static void
store_itself(void *object)
{
    count_finalize(object);
    storage[stored++] = po_incref(object);
}

/* test_is_finalized */
Test(cpython_gc, what_is_finalized)
{
    po_heap *heap = new_heap();
    po_type *type = hooked_type(heap, store_itself);
    void *number = po_int(heap, 3), *lazarus = new_hooked(type, 1, NULL);
    cr_assert_not(po_gc_is_finalized(number));
    cr_assert_not(po_gc_is_finalized(lazarus));
    po_decref(lazarus);
    cr_assert_eq(storage[0], lazarus);
    cr_assert(po_gc_is_finalized(lazarus));
    po_decref(lazarus);
    cr_assert_eq(destroyed[1], 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Resurrection ---- */

/* test_resurrection_only_happens_once_per_object */
Test(cpython_gc, resurrection_only_once)
{
    po_heap *heap = new_heap();
    struct hooked *lazarus = new_hooked(hooked_type(heap, store_itself), 1, NULL);
    lazarus->next = lazarus;
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(finalized[1], 1);
    cr_assert_eq(stored, 1);
    po_decref(storage[0]);
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert(finalized[1] == 1 && destroyed[1] == 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_resurrection_is_transitive */
Test(cpython_gc, resurrection_is_transitive)
{
    po_heap *heap = new_heap();
    struct hooked *lazarus = new_hooked(hooked_type(heap, store_itself), 1, NULL);
    struct node *cargo = po_new(node_type(heap));
    cargo->left = lazarus;
    lazarus->next = cargo;
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(storage[0], lazarus);
    cr_assert_eq(lazarus->next, cargo);
    cr_assert_eq(cargo->left, lazarus);
    cr_assert(po_refcount(cargo) == 1 && po_refcount(lazarus) == 2);
    po_decref(lazarus);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void
drop_self_rings(po_type *type, int count)
{
    for (int i = 0; i < count; i++)
        po_decref(new_ring(type, 1));
}

/* test_resurrection_does_not_block_cleanup_of_other_objects */
Test(cpython_gc, resurrection_does_not_keep_others)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap), *resurrecting = hooked_type(heap, store_itself);
    struct po_gc_stats stats[3];
    drop_self_rings(type, 100);
    cr_assert_eq(po_gc_collect(heap, 2), 100);
    struct hooked *z = new_hooked(resurrecting, 1, NULL);
    z->next = z;
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    drop_self_rings(type, 100);
    z = new_hooked(resurrecting, 2, NULL);
    z->next = z;
    cr_assert_eq(po_gc_collect(heap, 2), 100);
    po_gc_get_stats(heap, stats);
    cr_assert(stats[2].collected == 200 && stats[2].uncollectable == 0);
    cr_assert_eq(stored, 2);
    po_decref(storage[0]);
    po_decref(storage[1]);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    po_gc_get_stats(heap, stats);
    cr_assert(stats[2].collected == 202 && stats[2].uncollectable == 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Weak references in what is collected ---- */

static po_weak *pair[2];
static unsigned pair_calls;

static void
look_at_pair(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    pair_calls++;
    for (int i = 0; i < 2; i++)
        cr_assert_null(po_weak_get(pair[i]));
}

/* test_bug1055820b: a callback finds none of the others of the same collection */
Test(cpython_gc, callbacks_find_no_condemned_object)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    for (int i = 0; i < 2; i++) {
        void *loop = new_ring(type, 1);
        pair[i] = po_weak_create(loop, look_at_pair, NULL);
        po_decref(loop);
    }
    cr_assert_eq(pair_calls, 0);
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    cr_assert_eq(pair_calls, 2);
    po_weak_destroy(pair[0]);
    po_weak_destroy(pair[1]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void *from_callback;

static void
get_other(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    pair_calls++;
    from_callback = po_weak_get(pair[1]);
}

/* test_bug1055820c, d: an old object dies in a collection of the young, by its count, and its callback looks at one
 * object of that collection through a weak reference without a callback. In CPython 3.11 that one is cleared; here it is
 * still valid while callbacks and finalizers run, and what they take of it lives on, whole. */
static void
young_trash_with_an_old_witness(bool finalizer)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    struct node *old = po_new(type);
    po_gc_collect(heap, 2);
    struct node *keeper = new_ring(type, 1), *other = new_ring(type, 1);
    keeper->left = old;
    pair[1] = po_weak_create(other, NULL, NULL);
    pair[0] = po_weak_create(finalizer ? keeper : old, get_other, NULL);
    po_decref(keeper);
    po_decref(other);
    po_gc_collect(heap, 0);
    cr_assert_eq(pair_calls, 1);
    if (from_callback != NULL) {
        cr_assert_eq(from_callback, other);
        cr_assert_eq(other->right, other, "it is whole");
        cr_assert_eq(po_refcount(other), 2);
        po_decref(from_callback);
    }
    po_gc_collect(heap, 2);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_null(po_weak_get(pair[1]));
    po_weak_destroy(pair[0]);
    po_weak_destroy(pair[1]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(cpython_gc, a_callback_of_an_old_object_that_dies_of_young_trash)
{
    young_trash_with_an_old_witness(false);
}

Test(cpython_gc, a_callback_of_young_trash)
{
    young_trash_with_an_old_witness(true);
}

static unsigned trash_calls;

static void
count_trash_call(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    trash_calls++;
}

static void
destroy_weak_of(void *object)
{
    po_weak_destroy(((struct node *)object)->right);
}

/* test_trash_weakref_clear: the weak reference is itself trash, and its subject is held by an object that the collector
 * does not visit. No callback. */
Test(cpython_gc, a_weak_reference_that_is_trash_is_not_called)
{
    po_heap *heap = new_heap();
    static const uint16_t left[] = {0, PO_END}, both[] = {0, 8, PO_END};
    po_type *observer = po_type_create(
        heap,
        &(struct po_type_spec){.name = "observer", .size = 16, .references = left, .destroy = destroy_weak_of});
    po_type *holder = po_type_create(
        heap, &(struct po_type_spec){.name = "holder", .size = 8, .references = left, .flags = PO_ACYCLIC});
    po_type *plain = po_type_create(heap, &(struct po_type_spec){.name = "plain", .size = 16, .references = both});
    struct node *a = po_new(plain), *subject = po_new(node_type(heap)), *watch = po_new(observer);
    void **box = po_new(holder);
    box[0] = subject;
    watch->right = po_weak_create(subject, count_trash_call, NULL);
    po_weak_set_owner(watch->right, watch);
    watch->left = a;
    a->left = watch;
    a->right = box;
    po_gc_collect(heap, 2);
    cr_assert_eq(trash_calls, 0);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Callbacks of the collector ---- */

static struct event {
    bool begins;
    int generation;
} events[16];
static unsigned event_count;

static void
note_event(po_heap *heap, bool begins, int generation, void *context)
{
    cr_assert_eq(context, &event_count);
    /* Within a collection another one finds nothing, and calls nothing. */
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    events[event_count++] = (struct event){begins, generation};
}

/* GCCallbackTests.test_collect, test_collect_generation, test_collect_garbage */
Test(cpython_gc, the_collector_calls_before_and_after)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    po_gc_set_callback(heap, note_event, &event_count);
    for (int generation = 0; generation < 3; generation++) {
        event_count = 0;
        po_decref(new_ring(type, 2));
        cr_assert_eq(po_gc_collect(heap, generation), 2);
        cr_assert_eq(event_count, 2);
        cr_assert(events[0].begins && !events[1].begins);
        cr_assert(events[0].generation == generation && events[1].generation == generation);
    }
    event_count = 0;
    po_gc_set_callback(heap, NULL, NULL);
    po_gc_collect(heap, 2);
    cr_assert_eq(event_count, 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Mistakes, and the end ---- */

static void
lose_a_count(void)
{
    struct zoo zoo = make_zoo();
    void *list = po_new_items(zoo.list, 1), *outer = po_new_items(zoo.list, 2);
    items_of(outer)[0] = list;
    items_of(outer)[1] = list; /* without a new reference */
    po_gc_collect(zoo.heap, 2);
}

/* GCCallbackTests.test_refcount_errors */
Test(cpython_gc, a_count_that_is_too_small)
{
    require_abort(lose_a_count, "poolobject: an object of type list has a count less than the references to it, one of "
                                "them from type list\n");
}

/* test_garbage_at_shutdown, test_gc_main_module_at_shutdown, test_global_del_SystemExit: the heap's end */
Test(cpython_gc, the_end_finalizes_what_is_unreachable)
{
    po_heap *heap = new_heap();
    po_type *type = hooked_type(heap, count_finalize);
    struct hooked *ring = new_hooked(type, 1, NULL), *held = new_hooked(type, 2, NULL);
    ring->next = ring;
    held->next = held;
    po_incref(held);
    cr_assert_eq(po_heap_destroy(heap), 1);
    cr_assert(finalized[1] == 1 && destroyed[1] == 1);
    cr_assert(finalized[2] == 0 && destroyed[2] == 1);
}

/* ---- test_legacy_finalizer, test_saveall: what cannot be collected is kept and counted, the rest goes ---- */

struct stubborn {
    void *hidden;
};

static void
stubborn_traverse(void *object, po_visitor *visit, void *context)
{
    visit(((struct stubborn *)object)->hidden, context);
}

static void
stubborn_clear(void *object)
{
    (void)object; /* refuses */
}

Test(cpython_gc, what_refuses_to_be_cleared_is_uncollectable)
{
    po_heap *heap = new_heap();
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "stubborn",
                                                                .size = sizeof(struct stubborn),
                                                                .traverse = stubborn_traverse,
                                                                .clear = stubborn_clear});
    struct stubborn *stubborn = po_new(type);
    stubborn->hidden = stubborn;
    po_decref(new_ring(node_type(heap), 1));
    cr_assert_eq(po_gc_collect(heap, 2), 2);
    struct po_gc_stats stats[3];
    po_gc_get_stats(heap, stats);
    cr_assert_eq(stats[2].uncollectable, 1);
    cr_assert_eq(objects_in(heap), 1);
    /* It is found in the heap, as it would be in gc.garbage, and breaks when its ring does. */
    cr_assert_eq(found_in(heap, 2, stubborn), 1);
    stubborn->hidden = NULL;
    po_decref(stubborn);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
