/* SPDX-License-Identifier: MIT
 *
 * Garbage in cycles is found, and nothing else is: rings of all sizes, what holds them, what they hold, generations,
 * other shapes of types, hubs, large objects.
 */
#include "support.h"

#include <stddef.h>
#include <stdlib.h>

Test(cycles, a_self_reference_is_found)
{
    po_heap *heap = new_heap();
    struct node *node = po_new(node_type(heap));
    po_set(&node->left, node);
    po_decref(node);
    cr_assert_eq(objects_in(heap), 1);
    cr_assert_eq(po_gc_collect(heap, 0), 1);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(cycles, a_ring_of_a_million_is_found_by_each_generation)
{
    for (int generation = 0; generation <= 2; generation++) {
        po_heap *heap = new_heap();
        void *ring = new_ring(node_type(heap), 1000000);
        for (int older = 0; older < generation; older++)
            cr_assert_eq(po_gc_collect(heap, older), 0);
        cr_assert_eq(po_gc_collect(heap, generation), 0);
        cr_assert_eq(po_refcount(ring), 2);
        po_decref(ring);
        cr_assert_eq(po_gc_collect(heap, 2), 1000000);
        cr_assert_eq(objects_in(heap), 0);
        cr_assert_eq(po_heap_destroy(heap), 0);
    }
}

Test(cycles, the_next_collection_of_its_generation_finds_a_ring)
{
    po_heap *heap = new_heap();
    void *ring = new_ring(node_type(heap), 10);
    po_gc_collect(heap, 0);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 0), 0);
    cr_assert_eq(po_gc_collect(heap, 1), 10);
    ring = new_ring(node_type(heap), 10);
    po_gc_collect(heap, 0);
    po_gc_collect(heap, 1);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 0), 0);
    cr_assert_eq(po_gc_collect(heap, 1), 0);
    cr_assert_eq(po_gc_collect(heap, 2), 10);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(cycles, a_ring_that_is_held_survives_with_its_counts)
{
    po_heap *heap = new_heap();
    struct node *ring = new_ring(node_type(heap), 5);
    for (int generation = 0; generation <= 2; generation++) {
        cr_assert_eq(po_gc_collect(heap, generation), 0);
        struct node *node = ring;
        cr_assert_eq(po_refcount(node), 2);
        while ((node = node->right) != ring)
            cr_assert_eq(po_refcount(node), 1);
    }
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 5);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(cycles, garbage_lowers_the_counts_of_what_lives)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    struct node *alive = po_new(type), *ring = new_ring(type, 7);
    po_set(&ring->left, alive);
    struct node *second = ring->right;
    po_set(&second->left, alive);
    void *string = po_string(heap, "payload", 7);
    second = second->right;
    po_set(&second->left, string);
    cr_assert_eq(po_refcount(alive), 3);
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 7);
    cr_assert_eq(po_refcount(alive), 1);
    cr_assert_eq(po_refcount(string), 1);
    po_decref(string);
    po_decref(alive);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* Counts of more than a byte and of more than a table has, from inside and from outside. */
Test(cycles, hubs_are_counted_whole)
{
    for (int generation = 0; generation <= 2; generation += 2)
        for (size_t spokes = 250; spokes < 70000; spokes = spokes < 520 ? spokes + 1 : spokes * 3) {
            po_heap *heap = new_heap();
            po_type *type = node_type(heap);
            struct node *hub = po_new(type), *first = NULL;
            for (size_t i = 0; i < spokes; i++)
                first = new_node(type, po_incref(hub), first);
            po_set(&hub->right, first);
            po_decref(first);
            cr_assert_eq(po_gc_collect(heap, generation), 0);
            cr_assert_eq(po_refcount(hub), spokes + 1);
            po_decref(hub);
            cr_assert_eq(po_gc_collect(heap, 2), spokes + 1);
            cr_assert_eq(po_heap_destroy(heap), 0);
        }
}

Test(cycles, rings_through_items_and_large_objects)
{
    po_heap *heap = new_heap();
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "vector", .item_size = sizeof(void *), .items_are_references = true});
    for (size_t count = 1; count < 10000; count *= 3)
        for (int generation = 0; generation <= 2; generation++) {
            void **vector = po_new_items(type, count);
            void **other = po_new_items(type, count);
            for (size_t i = 0; i < count; i++) {
                po_set(&vector[i], other);
                po_set(&other[i], vector);
            }
            po_decref(other);
            cr_assert_eq(po_gc_collect(heap, 0), 0);
            cr_assert_eq(po_gc_collect(heap, 1), 0);
            po_decref(vector);
            cr_assert_eq(po_gc_collect(heap, 2), 2);
            /* and young ones */
            vector = po_new_items(type, count);
            po_set(&vector[count - 1], vector);
            po_decref(vector);
            cr_assert_eq(po_gc_collect(heap, generation), 1);
        }
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Types with functions of their own ---- */

struct table {
    size_t count;
    void **slots; /* of malloc */
};

static int tables_destroyed;

static void
table_traverse(void *object, po_visitor *visit, void *context)
{
    struct table *table = object;
    for (size_t i = 0; i < table->count; i++)
        visit(table->slots[i], context);
}

static void
table_clear(void *object)
{
    struct table *table = object;
    for (size_t i = 0; i < table->count; i++)
        po_clear(&table->slots[i]);
}

static void
table_destroy(void *object)
{
    free(((struct table *)object)->slots);
    tables_destroyed++;
}

static struct table *
new_table(po_type *type, size_t count)
{
    struct table *table = po_new(type);
    table->slots = calloc(count, sizeof(void *));
    table->count = count;
    return table;
}

Test(cycles, a_type_may_keep_references_elsewhere)
{
    po_heap *heap = new_heap();
    struct po_type_spec spec = {.name = "table",
                                .size = sizeof(struct table),
                                .traverse = table_traverse,
                                .clear = table_clear,
                                .destroy = table_destroy};
    po_type *type = po_type_create(heap, &spec);
    for (int generation = 0; generation <= 2; generation++) {
        struct table *a = new_table(type, 5), *b = new_table(type, 3);
        po_set(&a->slots[1], b);
        po_set_steal(&b->slots[2], a);
        tables_destroyed = 0;
        cr_assert_eq(po_gc_collect(heap, generation), 0);
        po_decref(b);
        cr_assert_eq(po_gc_collect(heap, 2), 2);
        cr_assert_eq(tables_destroyed, 2);
        a = new_table(type, 2);
        po_set_steal(&a->slots[0], new_table(type, 1));
        po_decref(a); /* by its count */
        cr_assert_eq(tables_destroyed, 4);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* As in CPython, where a type without tp_clear in each object of a ring makes it immortal. */
Test(cycles, what_cannot_be_cleared_is_uncollectable)
{
    po_heap *heap = new_heap();
    struct po_type_spec spec = {.name = "frozen table",
                                .size = sizeof(struct table),
                                .traverse = table_traverse,
                                .destroy = table_destroy};
    po_type *type = po_type_create(heap, &spec);
    struct po_gc_stats stats[3];
    struct table *table = new_table(type, 1);
    table->slots[0] = table;
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    po_gc_get_stats(heap, stats);
    cr_assert_eq(stats[2].uncollectable, 1);
    cr_assert_eq(tables_destroyed, 0);
    cr_assert_eq(po_refcount(table), 1);
    /* In a ring with one that can be, it goes; and what it holds goes with it. */
    struct table *other = new_table(type, 2);
    other->slots[1] = new_table(type, 1);
    struct node *node = po_new(node_type(heap));
    node->left = other;
    other->slots[0] = node;
    cr_assert_eq(po_gc_collect(heap, 2), 4);
    cr_assert_eq(tables_destroyed, 2);
    po_clear(&table->slots[0]);
    cr_assert_eq(tables_destroyed, 3);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(cycles, acyclic_objects_are_not_tracked)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "box", .size = 8, .references = references, .flags = PO_ACYCLIC});
    void **box = po_new(type);
    unsigned count[3];
    cr_assert_not(po_gc_is_tracked(box));
    po_gc_get_count(heap, count);
    cr_assert_eq(count[0], 0);
    void *node = po_new(node_type(heap));
    cr_assert(po_gc_is_tracked(node));
    po_set_steal(box, node);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(po_refcount(node), 1);
    po_decref(box);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Looking at the heap ---- */

static size_t visits;
static const void *last;

static void
count_visit(void *object, void *context)
{
    (void)context;
    visits++;
    last = object;
}

static size_t
each(po_heap *heap, int generation)
{
    visits = 0;
    po_gc_each(heap, generation, count_visit, NULL);
    return visits;
}

Test(cycles, objects_grow_old)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *node = po_new(type), *large = po_new(po_type_create(heap, &(struct po_type_spec){.name = "l", .size = 600}));
    void *string = po_string(heap, "a", 1);
    for (int generation = 0; generation <= 2; generation++) {
        for (int other = 0; other <= 2; other++)
            cr_assert_eq(each(heap, other), generation == other ? 2 : 0, "%d %d: %zu", generation, other, visits);
        cr_assert_eq(each(heap, -1), 2);
        po_gc_collect(heap, generation < 2 ? generation : 0);
    }
    void *young = po_new(type);
    cr_assert_eq(each(heap, 0), 1);
    cr_assert_eq(last, young);
    po_gc_collect(heap, 2);
    cr_assert_eq(each(heap, 2), 3);
    po_decref(young);
    po_decref(string);
    po_decref(large);
    po_decref(node);
    cr_assert_eq(each(heap, -1), 0);
    po_heap_destroy(heap);
}

Test(cycles, referrers_and_referents)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    struct node *leaf = po_new(type);
    struct node *one = new_node(type, po_incref(leaf), po_incref(leaf)), *two = new_node(type, NULL, po_incref(leaf));
    visits = 0;
    po_gc_each_referrer(leaf, count_visit, NULL);
    cr_assert_eq(visits, 2);
    visits = 0;
    po_gc_each_referent(one, count_visit, NULL);
    cr_assert_eq(visits, 2);
    visits = 0;
    po_gc_each_referent(two, count_visit, NULL);
    cr_assert_eq(visits, 1);
    cr_assert_eq(last, leaf);
    cr_assert_eq(po_heap_destroy(heap), 3 /* each by a reference of this function */);
}
