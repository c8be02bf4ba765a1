/* SPDX-License-Identifier: MIT
 *
 * Objects as such: made, counted, stored, released; what can be asked of them; types that are refused.
 */
#include "support.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

Test(basics, an_object_is_zero_and_has_one_reference)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    for (int i = 0; i < 1000; i++) {
        struct node *node = po_new(type);
        cr_assert(node->left == NULL && node->right == NULL);
        cr_assert_eq(po_refcount(node), 1);
        cr_assert_eq(po_type_of(node), type);
        cr_assert_eq(po_heap_of(node), heap);
        memset(node, 0xff, sizeof *node);
        memset(node, 0, sizeof *node);
        po_decref(node);
    }
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, a_node_of_two_references_takes_24_bytes)
{
    po_heap *heap = new_heap();
    struct po_heap_stats stats;
    void *node = po_new(node_type(heap));
    po_heap_get_stats(heap, &stats);
    cr_assert_eq(stats.bytes, 24);
    po_decref(node);
    po_heap_destroy(heap);
}

Test(basics, counts_go_up_and_down)
{
    po_heap *heap = new_heap();
    void *node = po_new(node_type(heap));
    cr_assert_eq(po_incref(node), node);
    cr_assert_eq(po_refcount(node), 2);
    po_decref(node);
    cr_assert_eq(po_refcount(node), 1);
    cr_assert_null(po_incref(NULL));
    po_decref(NULL);
    cr_assert_eq(po_heap_destroy(heap), 1);
}

Test(basics, the_last_reference_releases_what_only_it_held)
{
    po_heap *heap = new_heap();
    po_type *type = node_type(heap);
    struct node *leaf = po_new(type);
    void *root = new_node(type, new_node(type, po_incref(leaf), NULL), po_incref(leaf));
    cr_assert_eq(po_refcount(leaf), 3);
    cr_assert_eq(objects_in(heap), 3);
    po_decref(root);
    cr_assert_eq(po_refcount(leaf), 1);
    cr_assert_eq(objects_in(heap), 1);
    po_decref(leaf);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, objects_of_every_size_are_zero_aligned_and_apart)
{
    po_heap *heap = new_heap();
    for (unsigned flags = 0; flags < 4; flags++)
        for (size_t size = 0; size < 1400; size += size < 64 ? 1 : 13) {
            po_type *type =
                po_type_create(heap, &(struct po_type_spec){.name = "sized", .size = size, .flags = flags});
            char *objects[40];
            for (int i = 0; i < 40; i++) {
                objects[i] = po_new(type);
                cr_assert_eq((uintptr_t)objects[i] % (flags & PO_ALIGN_16 ? 16 : 8), 0);
                for (size_t byte = 0; byte < size; byte++)
                    cr_assert_eq(objects[i][byte], 0);
                memset(objects[i], i + 1, size);
            }
            for (int i = 0; i < 40; i++) {
                for (size_t byte = 0; byte < size; byte++)
                    cr_assert_eq(objects[i][byte], i + 1);
                cr_assert_eq(po_refcount(objects[i]), 1);
                po_decref(objects[i]);
            }
        }
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, items_are_counted_and_released)
{
    po_heap *heap = new_heap();
    po_type *leaf_type = node_type(heap);
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "vector",
                                                                .size = 8,
                                                                .item_size = 8,
                                                                .items_are_references = true});
    for (size_t count = 0; count < 3000; count += count < 70 ? 1 : 977) {
        char *vector = po_new_items(type, count);
        void *leaf = po_new(leaf_type);
        cr_assert_eq(po_item_count(vector), count);
        for (size_t i = 0; i < count; i++)
            po_set((void **)(vector + 8) + i, leaf);
        cr_assert_eq(po_refcount(leaf), count + 1);
        po_decref(vector);
        cr_assert_eq(po_refcount(leaf), 1);
        cr_assert_eq(po_item_count(leaf), 0);
        po_decref(leaf);
    }
    cr_assert_eq(po_heap_destroy(heap), 0);
}

static void *seen;

static void
look_at_slot(void *object)
{
    seen = *(void **)((struct node *)object)->right;
}

/* Point 6: a finalizer that the store runs reads the slot. */
Test(basics, a_slot_has_its_new_value_before_the_old_one_dies)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {offsetof(struct node, left), PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "reader",
                                                                .size = sizeof(struct node),
                                                                .references = references,
                                                                .finalize = look_at_slot});
    void *slot = NULL;
    struct node *first = po_new(type), *second = po_new(type);
    first->right = second->right = &slot;
    po_set_steal(&slot, first);
    po_set(&slot, second);
    cr_assert_eq(seen, second);
    cr_assert_eq(po_refcount(second), 2);
    po_decref(second);
    seen = second;
    po_clear(&slot);
    cr_assert_null(seen);
    cr_assert_null(slot);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, storing_a_slot_in_itself_keeps_it)
{
    po_heap *heap = new_heap();
    void *slot = po_new(node_type(heap));
    po_set(&slot, slot);
    cr_assert_eq(po_refcount(slot), 1);
    po_clear(&slot);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, a_count_that_overflows_is_immortal)
{
    po_heap *heap = new_heap();
    void *node = po_new(node_type(heap));
    ((uint32_t *)node)[-2] = INT32_MAX;
    cr_assert_not(po_is_immortal(node));
    po_incref(node);
    cr_assert(po_is_immortal(node));
    for (int i = 0; i < 5; i++)
        po_decref(node);
    cr_assert(po_is_immortal(node));
    cr_assert_eq(po_refcount(node), SIZE_MAX);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(basics, destroying_a_heap_destroys_its_objects_and_counts_those_in_use)
{
    po_heap *heap = new_heap();
    po_type *type = hooked_type(heap, NULL);
    new_hooked(type, 1, new_hooked(type, 2, NULL));
    new_hooked(type, 3, NULL);
    struct hooked *ring = new_hooked(type, 4, NULL);
    po_set_steal(&ring->next, ring);
    cr_assert_eq(po_heap_destroy(heap), 2);
    for (int i = 1; i <= 4; i++)
        cr_assert_eq(destroyed[i], 1);
}

/* ---- What is refused ---- */

static void
refuse(po_heap *heap, struct po_type_spec spec)
{
    errno = 0;
    cr_assert_null(po_type_create(heap, &spec));
    cr_assert_eq(errno, EINVAL);
}

Test(basics, types_that_cannot_be_are_refused)
{
    po_heap *heap = new_heap();
    static const uint16_t outside[] = {8, PO_END}, misaligned[] = {4, PO_END}, partly[] = {0, 16, PO_END};
    refuse(NULL, (struct po_type_spec){.name = "x", .size = 8});
    refuse(heap, (struct po_type_spec){.size = 8});
    refuse(heap, (struct po_type_spec){.name = "", .size = 8});
    refuse(heap, (struct po_type_spec){.name = "x", .size = ((size_t)1 << 31) + 1});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 8, .references = outside});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 16, .references = misaligned});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 16, .references = partly});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 16, .flags = 64});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 16, .items_are_references = true});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 4, .item_size = 8, .items_are_references = true});
    refuse(heap, (struct po_type_spec){.name = "x", .size = 8, .item_size = 4, .items_are_references = true});
    errno = 0;
    cr_assert_null(po_type_create(heap, NULL));
    cr_assert_eq(errno, EINVAL);
    errno = 0;
    cr_assert_null(po_heap_create(&(struct po_heap_options){.collect = 7}));
    cr_assert_eq(errno, EINVAL);
    po_heap_destroy(heap);
}

Test(basics, objects_that_cannot_be_are_refused)
{
    po_heap *heap = new_heap();
    po_type *items = po_type_create(heap, &(struct po_type_spec){.name = "items", .size = 8, .item_size = 16});
    errno = 0;
    cr_assert_null(po_new(NULL));
    cr_assert_eq(errno, EINVAL);
    errno = 0;
    cr_assert_null(po_new_items(node_type(heap), 1));
    cr_assert_eq(errno, EINVAL);
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 16, (size_t)-1000, PTRDIFF_MAX / 16 + 1, (size_t)1 << 59};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        errno = 0;
        cr_assert_null(po_new_items(items, counts[i]));
        cr_assert_eq(errno, ENOMEM);
    }
    errno = 0;
    cr_assert_null(po_string(NULL, "a", 1));
    cr_assert_eq(errno, EINVAL);
    errno = 0;
    cr_assert_null(po_intern(NULL, "a", 1));
    cr_assert_eq(errno, EINVAL);
    errno = 0;
    cr_assert_null(po_int(NULL, 1));
    cr_assert_eq(errno, EINVAL);
    errno = 0;
    cr_assert_null(po_weak_create(NULL, NULL, NULL));
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
