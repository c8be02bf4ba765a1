/* SPDX-License-Identifier: MIT
 *
 * When collections run: points 9, 12 and 13, and the bound on memory that garbage keeps. No test here judges time: all
 * count collections, or bytes.
 */
#include "support.h"

#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
collections(po_heap *heap, int generation)
{
    struct po_gc_stats stats[3];
    po_gc_get_stats(heap, stats);
    return stats[generation].collections;
}

/* Point 13. */
Test(growth, the_701st_young_object_starts_a_collection)
{
    po_heap *heap = po_heap_create(NULL);
    po_type *type = node_type(heap);
    unsigned count[3];
    void *list = NULL;
    for (unsigned i = 0; i < 700; i++) {
        list = new_node(type, NULL, list);
        po_gc_get_count(heap, count);
        cr_assert_eq(count[0], i + 1);
    }
    cr_assert_eq(collections(heap, 0), 0);
    list = new_node(type, NULL, list);
    cr_assert_eq(collections(heap, 0), 1);
    po_gc_get_count(heap, count);
    cr_assert(count[0] <= 1 && count[1] == 1 && count[2] == 0);
    po_decref(list);
    po_heap_destroy(heap);
}

Test(growth, what_is_released_does_not_count)
{
    po_heap *heap = po_heap_create(NULL);
    po_type *type = node_type(heap), *vector = po_type_create(heap, &(struct po_type_spec){.name = "v", .size = 3000});
    for (int i = 0; i < 1000000; i++)
        po_decref(new_node(type, po_new(type), NULL));
    void *nodes[600] = {NULL};
    for (int i = 0; i < 1000000; i++)
        po_set_steal(&nodes[(unsigned)i * 7919 % 600], po_new(type));
    for (int i = 0; i < 20000; i++)
        po_decref(po_new(vector));
    for (int generation = 0; generation <= 2; generation++)
        cr_assert_eq(collections(heap, generation), 0);
    cr_assert_eq(po_heap_destroy(heap), 600);
}

Test(growth, thresholds_and_modes)
{
    const struct po_heap_options options = {.threshold = {50, 2, 3}};
    po_heap *heap = po_heap_create(&options);
    po_type *type = node_type(heap);
    unsigned threshold[3];
    po_gc_get_threshold(heap, threshold);
    cr_assert(threshold[0] == 50 && threshold[1] == 2 && threshold[2] == 3);
    void *list = NULL;
    for (int i = 0; i < 50 * 4; i++)
        list = new_node(type, NULL, list);
    cr_assert_eq(collections(heap, 0), 3);
    for (int i = 0; i < 100; i++)
        list = new_node(type, NULL, list);
    cr_assert_eq(collections(heap, 1), 1);
    po_gc_disable(heap);
    cr_assert_not(po_gc_is_enabled(heap));
    uint64_t before = collections(heap, 0);
    for (int i = 0; i < 1000; i++)
        list = new_node(type, NULL, list);
    cr_assert_eq(collections(heap, 0), before);
    cr_assert_eq(po_gc_collect(heap, 0), 0, "by hand it collects all the same");
    po_gc_enable(heap);
    po_gc_set_threshold(heap, (unsigned[3]){0, 10, 10});
    before = collections(heap, 0);
    for (int i = 0; i < 3000; i++)
        list = new_node(type, NULL, list);
    cr_assert_eq(collections(heap, 0), before, "a threshold of 0: none starts by itself");
    po_decref(list);
    po_heap_destroy(heap);
}

Test(growth, at_safepoints_only)
{
    po_heap *heap = po_heap_create(&(struct po_heap_options){.collect = PO_COLLECT_AT_SAFEPOINTS});
    po_type *type = node_type(heap);
    for (int i = 0; i < 5000; i++)
        po_decref(new_ring(type, 2));
    cr_assert_eq(collections(heap, 0) + collections(heap, 1) + collections(heap, 2), 0);
    po_safepoint(heap);
    cr_assert_eq(objects_in(heap), 0);
    uint64_t before = collections(heap, 0) + collections(heap, 2);
    po_safepoint(heap);
    cr_assert_eq(collections(heap, 0) + collections(heap, 2), before);
    po_heap_destroy(heap);
}

/* Point 12: each full collection follows a growth by a fifth or more, so their number is a logarithm. */
Test(growth, to_ten_million_is_linear)
{
    po_heap *heap = po_heap_create(NULL);
    po_type *type = node_type(heap);
    void *list = NULL;
    uint64_t visited = 0, before = 0;
    for (size_t i = 0; i < 10000000; i++) {
        list = new_node(type, NULL, list);
        if (collections(heap, 2) != before) {
            visited += i;
            before = collections(heap, 2);
        }
    }
    cr_assert_lt(before, 60);
    cr_assert_lt(visited, 70000000u);
    po_decref(list);
    po_heap_destroy(heap);
}

/* Rings of two with a payload, as a server's requests leave them; `live` bytes stay. */
static void
floating(size_t live, size_t payload, uint64_t max_pause_ns)
{
    po_heap *heap = po_heap_create(&(struct po_heap_options){.max_pause_ns = max_pause_ns});
    po_type *type = node_type(heap);
    void *list = NULL;
    char *bytes = calloc(1, payload);
    for (size_t made = 0; made < live; made += 24)
        list = new_node(type, NULL, list);
    po_gc_collect(heap, 2);
    size_t most = 0, rounds = 40000000 / (payload + 48);
    for (size_t i = 0; i < rounds; i++) {
        struct node *ring = new_ring(type, 2);
        ring->left = po_string(heap, bytes, payload);
        po_decref(ring);
        size_t floats = heap->used_bytes > live ? heap->used_bytes - live : 0;
        most = floats > most ? floats : most;
    }
    size_t bound = live / 4 > (size_t)2 << 20 ? live / 4 : (size_t)2 << 20;
    cr_assert_leq(most, bound + (64 << 10), "%zu bytes float over %zu, payload %zu", most, live, payload);
    free(bytes);
    po_decref(list);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(growth, garbage_that_floats_is_bounded)
{
    for (uint64_t pause = 0; pause <= 1000000; pause += 1000000) {
        floating(0, 16, pause);
        floating(0, 400, pause);
        floating(0, 10000, pause);
        floating(0, 200000, pause);
        floating(20000000, 16, pause);
        floating(20000000, 10000, pause);
    }
}

/* Rings that live for a while, and become garbage when they are old. */
Test(growth, garbage_that_grew_old_is_bounded)
{
    for (uint64_t pause = 0; pause <= 1000000; pause += 1000000) {
        po_heap *heap = po_heap_create(&(struct po_heap_options){.max_pause_ns = pause});
        po_type *type = node_type(heap);
        enum { SESSIONS = 2000 };
        static void *sessions[SESSIONS];
        static const char payload[980];
        memset(sessions, 0, sizeof sessions);
        size_t live = SESSIONS * (24 * 20 + 1000), most = 0;
        for (size_t i = 0; i < 300000; i++) {
            struct node *ring = new_ring(type, 20);
            ring->left = po_string(heap, payload, sizeof payload);
            po_set_steal(&sessions[i * 7919 % SESSIONS], ring);
            most = heap->used_bytes > most ? heap->used_bytes : most;
        }
        size_t bound = live + ((size_t)2 << 20) + (128 << 10);
        cr_assert_leq(most, bound, "%zu bytes for %zu, pauses of %zu ns", most, live, (size_t)pause);
        po_heap_destroy(heap);
    }
}

/* ---- Point 9 ---- */

Test(growth, a_limit_on_memory_collects_then_fails)
{
    const struct po_heap_options options = {.collect = PO_COLLECT_BY_HAND, .memory_limit = 1 << 20};
    po_heap *heap = po_heap_create(&options);
    po_type *type = node_type(heap), *block = po_type_create(heap, &(struct po_type_spec){.name = "b", .size = 5000});
    for (int i = 0; i < 100000; i++) {
        struct node *node = po_new(type);
        cr_assert_not_null(node);
        node->left = node;
    }
    for (int i = 0; i < 1000; i++) {
        void **large = po_new(block);
        cr_assert_not_null(large);
        po_decref(large);
    }
    po_gc_collect(heap, 2);
    void *list = NULL, *node;
    size_t count = 0;
    errno = 0;
    while ((node = po_new(type)) != NULL) {
        ((struct node *)node)->right = list;
        list = node;
        count++;
    }
    cr_assert_eq(errno, ENOMEM);
    cr_assert(count > 35000 && count * 24 <= 1 << 20, "%zu", count);
    cr_assert_null(po_new(block));
    po_decref(list);
    cr_assert_not_null(list = po_new(block));
    po_decref(list);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(growth, a_collection_without_memory_is_put_off)
{
    for (int generation = 0; generation <= 2; generation++) {
        po_heap *heap = new_heap();
        po_type *type = node_type(heap);
        struct node *hub = po_new(type);
        void *list = NULL;
        for (int i = 0; i < 100000; i++)
            list = new_node(type, po_incref(hub), list);
        po_set(&hub->left, list);
        void *ring = new_ring(type, 1000);
        po_decref(ring);
        size_t found = 0;
        int budget = 0;
        for (; found == 0 && budget < 50; budget++) {
            po_memory_budget = budget;
            found = po_gc_collect(heap, generation);
            po_memory_budget = -1;
            po_heap_verify(heap);
            cr_assert_eq(objects_in(heap), 101001 - found);
        }
        cr_assert_eq(found, 1000);
        cr_assert_gt(budget, 1);
        po_decref(list);
        po_decref(hub);
        cr_assert_eq(po_gc_collect(heap, 2), 100001);
        cr_assert_eq(po_heap_destroy(heap), 0);
    }
}

static void
finalize_nothing(void *object)
{
    (void)object;
}

/* The second trial, after finalizers, has no memory: what was finalized stays, and goes the next time. */
Test(growth, no_memory_after_finalizers)
{
    for (int budget = 0; budget < 30; budget++) {
        po_heap *heap = new_heap();
        po_type *type = hooked_type(heap, finalize_nothing);
        void *chain = NULL;
        for (int i = 0; i < 3000; i++) {
            struct hooked *hooked = new_hooked(type, 0, chain);
            chain = hooked;
            if (i == 0)
                hooked->next = NULL;
        }
        struct node *knot = po_new(node_type(heap));
        knot->left = knot;
        knot->right = chain;
        po_memory_budget = budget;
        po_gc_collect(heap, 2);
        po_memory_budget = -1;
        po_heap_verify(heap);
        po_gc_collect(heap, 2);
        cr_assert_eq(objects_in(heap), 0);
        cr_assert_eq(po_heap_destroy(heap), 0);
    }
}

static int owned_calls;

static void
count_owned_call(po_weak *weak, void *context)
{
    (void)weak, (void)context;
    owned_calls++;
}

static void
destroy_owned(void *object)
{
    po_weak_destroy(((struct node *)object)->right);
}

/* Whoever dies first or is put off: no weak reference whose owner dies with its subject is called. */
Test(growth, no_memory_to_know_the_owners)
{
    size_t found = 0;
    int budget = 0;
    for (; found == 0 && budget < 50; budget++) {
        po_heap *heap = new_heap();
        static const uint16_t references[] = {0, PO_END};
        po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "observer",
                                                                    .size = sizeof(struct node),
                                                                    .references = references,
                                                                    .destroy = destroy_owned});
        struct node *first = po_new(type), *last = first;
        for (int i = 1; i < 3000; i++) {
            struct node *observer = po_new(type);
            observer->right = po_weak_create(last, count_owned_call, NULL);
            po_weak_set_owner(observer->right, observer);
            last->left = observer;
            last = observer;
        }
        last->left = first;
        po_memory_budget = budget;
        found = po_gc_collect(heap, 2);
        po_memory_budget = -1;
        cr_assert(found == 0 || found == 3000);
        po_heap_verify(heap);
        cr_assert_eq(objects_in(heap), 3000 - found);
        cr_assert_eq(po_gc_collect(heap, 2), 3000 - found);
        cr_assert_eq(owned_calls, 0);
        cr_assert_eq(po_heap_destroy(heap), 0);
    }
    cr_assert_gt(budget, 5);
    cr_assert_eq(found, 3000);
}

Test(growth, objects_without_memory)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *list = NULL, *node;
    for (int i = 0; i < 2000000; i++) {
        po_memory_budget = i % 3000 == 0 ? -1 : 0;
        while ((node = po_new(type)) == NULL) {
            cr_assert_eq(errno, ENOMEM);
            po_memory_budget = 1;
        }
        ((struct node *)node)->right = list;
        list = node;
    }
    po_memory_budget = -1;
    po_heap_verify(heap);
    cr_assert_eq(objects_in(heap), 2000000);
    cr_assert_eq(po_gc_collect(heap, 1), 0);
    po_decref(list);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Steps ---- */

Test(growth, steps_find_what_a_collection_finds)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *list = NULL;
    for (int i = 0; i < 50000; i++) {
        list = new_node(type, NULL, list);
        if (i % 10 == 0)
            po_decref(new_ring(type, 5));
    }
    int steps = 1;
    while (po_gc_step(heap, 0)) {
        steps++;
        list = new_node(type, NULL, list);
    }
    cr_assert_gt(steps, 20);
    cr_assert_eq(objects_in(heap), 50000 + (size_t)steps - 1);
    cr_assert_eq(collections(heap, 2), 1);
    po_heap_verify(heap);
    po_decref(list);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
