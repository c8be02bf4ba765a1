/* SPDX-License-Identifier: MIT
 *
 * A program on the object library: a ring that the collector finds.
 */
#include <poolobject.h>
#include <stdio.h>

struct node {
    void *next;
};

int
main(void)
{
    static const uint16_t references[] = {offsetof(struct node, next), PO_END};
    po_heap *heap = po_heap_create(NULL);
    const struct po_type_spec spec = {.name = "node", .size = sizeof(struct node), .references = references};
    po_type *type = po_type_create(heap, &spec);
    struct node *first = po_new(type), *second = po_new(type);
    first->next = second;
    second->next = po_incref(first);
    po_decref(first);
    size_t found = po_gc_collect(heap, 2), left = po_heap_destroy(heap);
    printf(found == 2 && left == 0 ? "ok: 2 collected\n" : "%zu collected, %zu left\n", found, left);
    return 0;
}
