/* SPDX-License-Identifier: MIT
 *
 * Point 11: what is frozen is not visited, and a child's collections write to no page of what they leave alone.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int traversals;

static void
count_traversal(void *object, po_visitor *visit, void *context)
{
    (void)object, (void)visit, (void)context;
    traversals++;
}

Test(freeze, frozen_objects_are_left_alone)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    po_type *seen = po_type_create(
        heap, &(struct po_type_spec){.name = "seen", .size = 8, .traverse = count_traversal});
    void *objects[10], *large = po_new_items(
        po_type_create(heap, &(struct po_type_spec){.name = "v", .item_size = 8, .items_are_references = true}), 100);
    for (int i = 0; i < 10; i++)
        objects[i] = po_new(seen);
    void *ring = new_ring(type, 5);
    *(void **)large = po_incref(large);
    po_gc_freeze(heap);
    cr_assert_eq(po_gc_get_freeze_count(heap), 16);
    po_decref(ring);
    po_decref(large);
    for (int generation = 0; generation <= 2; generation++)
        cr_assert_eq(po_gc_collect(heap, generation), 0);
    while (po_gc_step(heap, 0))
        ;
    cr_assert_eq(traversals, 0);
    /* One that dies is no longer frozen, and what takes its place is not either. */
    for (int i = 0; i < 10; i++)
        po_decref(objects[i]);
    cr_assert_eq(po_gc_get_freeze_count(heap), 6);
    for (int i = 0; i < 10; i++)
        objects[i] = po_new(seen);
    po_gc_collect(heap, 2);
    cr_assert_gt(traversals, 0);
    void *young = new_ring(type, 300);
    po_decref(young);
    cr_assert_eq(po_gc_collect(heap, 0), 300);
    po_gc_unfreeze(heap);
    cr_assert_eq(po_gc_get_freeze_count(heap), 0);
    cr_assert_eq(po_gc_collect(heap, 2), 6);
    for (int i = 0; i < 10; i++)
        po_decref(objects[i]);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* ---- Within a collection ---- */

static po_heap *busy;
static void *saved;

static void
freeze_busy(void *object)
{
    (void)object;
    po_gc_freeze(busy);
}

static void
share_left(void *object)
{
    struct node *node = object;
    cr_assert(po_share(node->left));
    saved = po_incref(node->left);
}

/* A ring of one with a finalizer, which refers to a chain of two. */
static void
make_busy(void (*finalize)(void *))
{
    static const uint16_t both[] = {0, 8, PO_END};
    busy = new_heap();
    po_type *type = po_type_create(
        busy, &(struct po_type_spec){
                  .name = "finalized", .size = sizeof(struct node), .references = both, .finalize = finalize});
    po_type *large = po_type_create(
        busy, &(struct po_type_spec){.name = "large", .size = 1000, .references = both});
    struct node *node = po_new(type), *first = po_new(large);
    first->left = po_new(node_type(busy));
    node->left = first;
    node->right = node;
}

Test(freeze, a_finalizer_that_freezes_what_is_condemned)
{
    for (int generation = 0; generation < 3; generation++) {
        make_busy(freeze_busy);
        cr_assert_eq(po_gc_collect(busy, generation), 0);
        cr_assert_eq(po_gc_get_freeze_count(busy), 3);
        cr_assert_eq(po_gc_collect(busy, 2), 0);
        po_gc_unfreeze(busy);
        cr_assert_eq(po_gc_collect(busy, 2), 3);
        cr_assert_eq(objects_in(busy), 0);
        cr_assert_eq(po_heap_destroy(busy), 0);
    }
}

/* What is shared lives on, by the references that it has. */
Test(freeze, a_finalizer_that_shares_what_is_condemned)
{
    for (int generation = 0; generation < 3; generation++) {
        make_busy(share_left);
        cr_assert_eq(po_gc_collect(busy, generation), 1);
        cr_assert_eq(objects_in(busy), 2);
        cr_assert_eq(po_refcount(saved), 1);
        po_decref(saved);
        cr_assert_eq(objects_in(busy), 0);
        cr_assert_eq(po_heap_destroy(busy), 0);
    }
}

static void
freeze_when_it_begins(po_heap *heap, bool begins, int generation, void *context)
{
    (void)generation, (void)context;
    if (begins)
        po_gc_freeze(heap);
    else
        po_gc_unfreeze(heap);
}

/* Steps that are under way are given up; the next collection finds what they would have found. */
Test(freeze, a_callback_that_freezes_as_the_collection_begins)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    for (int steps = 0; steps < 2; steps++) {
        po_decref(new_ring(type, 1000));
        po_gc_set_callback(heap, freeze_when_it_begins, NULL);
        if (steps)
            while (po_gc_step(heap, 0))
                ;
        else
            cr_assert_eq(po_gc_collect(heap, 2), 0);
        po_gc_set_callback(heap, NULL, NULL);
        cr_assert_eq(objects_in(heap), 1000);
        cr_assert_eq(po_gc_collect(heap, 2), 1000);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* How many pages that hold nodes of the list this process no longer shares: private and written. */
static size_t
written_pages(void *list)
{
    FILE *pages = fopen("/proc/self/pagemap", "r");
    size_t written = 0;
    uintptr_t last = 0;
    cr_assert_not_null(pages);
    for (struct node *node = list; node != NULL; node = node->right) {
        uintptr_t page = (uintptr_t)node >> 12;
        uint64_t entry = 0;
        if (page == last)
            continue;
        last = page;
        if (fseek(pages, (long)(page * 8), SEEK_SET) != 0 || fread(&entry, 8, 1, pages) != 1)
            abort();
        written += (entry >> 56 & 1) != 0; /* mapped by this process only */
    }
    fclose(pages);
    return written;
}

static void
check_child(void *list, po_heap *heap, int generation)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        po_gc_collect(heap, generation);
        while (generation == 2 && po_gc_step(heap, 100000))
            ;
        size_t written = written_pages(list);
        if (written != 0)
            fprintf(stderr, "%zu pages were written\n", written);
        _exit(written != 0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

Test(freeze, a_child_that_collects_writes_to_no_object)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    void *list = NULL;
    for (int i = 0; i < 100000; i++)
        list = new_node(type, NULL, list);
    po_set(&((struct node *)list)->left, ((struct node *)list)->right);
    check_child(list, heap, 0); /* all of them are young */
    po_gc_collect(heap, 0);
    check_child(list, heap, 1);
    check_child(list, heap, 2);
    po_gc_freeze(heap);
    check_child(list, heap, 2);
    po_decref(list);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
