/* SPDX-License-Identifier: MIT
 *
 * Shared objects, heaps in several threads, graphs that change their heap. A program of its own, without Criterion, so
 * that it runs under ThreadSanitizer too.
 */
#include "poolobject.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { THREADS = 4, ROUNDS = 20000 };

struct node {
    void *left, *right;
};

static const uint16_t two[] = {0, 8, PO_END};
static atomic_int destroyed;

static void
count_destroy(void *object)
{
    (void)object;
    atomic_fetch_add(&destroyed, 1);
}

static po_type *
node_type(po_heap *heap)
{
    return po_type_create(heap, &(struct po_type_spec){.name = "node", .size = sizeof(struct node), .references = two});
}

static po_type *
counted_type(po_heap *heap)
{
    return po_type_create(heap, &(struct po_type_spec){.name = "counted",
                                                       .size = sizeof(struct node),
                                                       .references = two,
                                                       .destroy = count_destroy});
}

static void *
node(po_type *type, void *left, void *right)
{
    struct node *made = po_new(type);
    REQUIRE(made != NULL);
    made->left = left;
    made->right = right;
    return made;
}

static void
run(void *(*function)(void *), void *argument)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, function, argument) == 0);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
}

/* ---- Heaps of their own ---- */

static void *
use_own_heap(void *unused)
{
    (void)unused;
    po_heap *heap = po_heap_create(NULL);
    po_type *type = node_type(heap);
    for (int i = 0; i < ROUNDS; i++) {
        struct node *ring = node(type, po_intern(heap, "name", 4), NULL);
        po_set(&ring->right, ring);
        po_decref(ring);
    }
    REQUIRE(po_heap_destroy(heap) == 0);
    return NULL;
}

/* ---- Shared objects ---- */

static void *
count_shared(void *shared)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct node *mine = po_incref(shared);
        void *left = po_incref(mine->left);
        po_decref(mine);
        po_decref(left);
    }
    /* Also from objects of a heap of its own, with collections. */
    po_heap *heap = po_heap_create(NULL);
    po_type *type = node_type(heap);
    for (int i = 0; i < ROUNDS / 10; i++) {
        struct node *ring = node(type, po_incref(shared), NULL);
        po_set(&ring->right, ring);
        po_decref(ring);
    }
    REQUIRE(po_heap_destroy(heap) == 0);
    po_decref(shared);
    return NULL;
}

static void
share_a_graph(void)
{
    po_heap *heap = po_heap_create(NULL);
    po_type *type = counted_type(heap);
    void *leaf = node(type, po_string(heap, "leaf", 4), po_intern(heap, "interned", 8));
    void *root = node(type, leaf, node(type, po_incref(leaf), po_int(heap, 7)));
    REQUIRE(po_gc_is_tracked(root));
    REQUIRE(po_share(root) && po_share(root));
    REQUIRE(!po_gc_is_tracked(root) && !po_gc_is_tracked(leaf));
    REQUIRE(po_refcount(root) == 1 && po_refcount(leaf) == 2);
    errno = 0;
    REQUIRE(po_weak_create(root, NULL, NULL) == NULL && errno == EINVAL);
    for (int i = 0; i < THREADS; i++)
        po_incref(root);
    run(count_shared, root);
    REQUIRE(po_refcount(root) == 1 && atomic_load(&destroyed) == 0);
    REQUIRE(po_gc_collect(heap, 2) == 0);
    po_decref(root);
    REQUIRE(atomic_load(&destroyed) == 3);
    REQUIRE(po_heap_destroy(heap) == 0);
}

static void *
release_one(void *object)
{
    po_decref(object);
    return NULL;
}

/* A foreign thread with a small stack drops the last reference, while the heap's thread allocates and collects. */
static void
die_elsewhere(void)
{
    po_heap *heap = po_heap_create(NULL);
    po_type *type = counted_type(heap), *plain = node_type(heap);
    atomic_store(&destroyed, 0);
    for (int round = 0; round < 5; round++) {
        void *list = NULL;
        for (int i = 0; i < ROUNDS; i++)
            list = node(type, po_string(heap, "payload", 7), list);
        REQUIRE(po_share(list));
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 65536);
        REQUIRE(pthread_create(&thread, &attributes, release_one, list) == 0);
        for (int i = 0; i < ROUNDS; i++) {
            struct node *ring = node(plain, NULL, NULL);
            po_set(&ring->left, ring);
            po_decref(ring);
        }
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    REQUIRE(atomic_load(&destroyed) == 5 * ROUNDS);
    struct po_heap_stats stats;
    po_gc_collect(heap, 2);
    po_heap_get_stats(heap, &stats);
    REQUIRE(stats.objects == 0);
    REQUIRE(po_heap_destroy(heap) == 0);
}

static void
nothing(void *object)
{
    (void)object;
}

static void
what_cannot_be_shared(void)
{
    po_heap *heap = po_heap_create(NULL), *other = po_heap_create(NULL);
    po_type *type = node_type(heap);
    struct node *ring = node(type, NULL, node(type, NULL, NULL));
    po_set(&((struct node *)ring->right)->right, ring);
    errno = 0;
    REQUIRE(!po_share(ring) && errno == EINVAL);
    REQUIRE(po_gc_is_tracked(ring) && po_refcount(ring) == 2);
    void *finalized = po_new(
        po_type_create(heap, &(struct po_type_spec){.name = "f", .size = 8, .finalize = nothing}));
    struct node *outer = node(type, finalized, NULL);
    REQUIRE(!po_share(outer) && po_gc_is_tracked(outer));
    struct node *seen = node(type, NULL, NULL);
    po_weak *weak = po_weak_create(seen, NULL, NULL);
    REQUIRE(!po_share(seen));
    po_weak_destroy(weak);
    REQUIRE(po_share(seen));
    REQUIRE(!po_share(NULL));
    po_clear(&((struct node *)ring->right)->right);
    po_decref(ring);
    po_decref(outer);
    po_decref(seen);
    REQUIRE(po_heap_destroy(heap) == 0);
    REQUIRE(po_heap_destroy(other) == 0);
}

/* ---- Transfer ---- */

static void *
work_on_received(void *object)
{
    po_heap *heap = po_heap_of(object);
    po_heap_adopt(heap);
    po_type *type = po_type_of(object);
    for (int i = 0; i < ROUNDS; i++)
        po_set_steal(&((struct node *)object)->left, node(type, NULL, po_incref(object)));
    po_gc_collect(heap, 2);
    struct node *ring = ((struct node *)object)->left;
    REQUIRE(ring->right == object);
    po_decref(object);
    REQUIRE(po_gc_collect(heap, 2) != 0);
    return NULL;
}

static void
send_graphs(void)
{
    po_heap *from = po_heap_create(NULL);
    po_type *type = node_type(from), *vector = po_type_create(from, &(struct po_type_spec){.name = "vector",
                                                                                         .item_size = 8,
                                                                                         .items_are_references = true});
    for (int round = 0; round < 6; round++) {
        po_heap *to = po_heap_create(NULL);
        void **items = po_new_items(vector, 200);
        for (int i = 0; i < 200; i++)
            items[i] = node(type, po_int(from, i * 10), po_string(from, "text", 4));
        struct node *root = node(type, NULL, items);
        po_set_steal(&((struct node *)items[3])->left, po_incref(root));
        void *held = po_incref(items[7]);
        errno = 0;
        REQUIRE(!po_transfer(root, to) && errno == EINVAL);
        REQUIRE(po_heap_of(root) == from);
        po_decref(held);
        REQUIRE(po_transfer(root, to));
        REQUIRE(po_heap_of(root) == to && po_heap_of(items) == to && po_heap_of(items[5]) == to);
        REQUIRE(po_type_of(root) != type);
        po_heap_verify(to);
        po_heap_verify(from);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, work_on_received, root) == 0);
        for (int i = 0; i < ROUNDS; i++) {
            struct node *ring = node(type, NULL, NULL);
            po_set(&ring->left, ring);
            po_decref(ring);
        }
        REQUIRE(pthread_join(thread, NULL) == 0);
        po_heap_adopt(to);
        if (round == 5) { /* the old heap goes first */
            REQUIRE(po_heap_destroy(from) == 0);
            from = NULL;
        }
        REQUIRE(po_heap_destroy(to) == 0);
    }
}

static void
send_and_outlive(void)
{
    po_heap *from = po_heap_create(NULL), *to = po_heap_create(NULL);
    void *list = NULL;
    po_type *type = counted_type(from);
    atomic_store(&destroyed, 0);
    for (int i = 0; i < ROUNDS; i++)
        list = node(type, NULL, list);
    REQUIRE(po_transfer(list, to));
    REQUIRE(po_heap_destroy(from) == 0 && atomic_load(&destroyed) == 0);
    REQUIRE(po_gc_collect(to, 2) == 0);
    po_heap_verify(to);
    list = node(po_type_of(list), NULL, list);
    po_decref(list);
    REQUIRE(atomic_load(&destroyed) == ROUNDS + 1);
    REQUIRE(po_heap_destroy(to) == 0);
}

int
main(void)
{
    run(use_own_heap, NULL);
    share_a_graph();
    die_elsewhere();
    what_cannot_be_shared();
    send_graphs();
    send_and_outlive();
    return 0;
}
