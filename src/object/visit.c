/* SPDX-License-Identifier: MIT
 *
 * Visiting references in items, and those that only the type's own function knows.
 */
#include "object.h"

/* Debug: a traverse function that calls the library is named by po_check_use. */
static void
traverse_watched(void *object, const po_type *type, po_visitor *visit, void *context)
{
    const po_type *before = type->heap->traversing;
    type->heap->traversing = type;
    type->traverse(object, visit, context);
    type->heap->traversing = before;
}

void
po_visit_rest(void *object, const po_type *type, po_visitor *visit, void *context)
{
    if (type->shape & PO_HAS_ITEMS) {
        void **items = (void **)((char *)object + type->size);
        for (size_t count = *po_items_word(object), i = 0; i < count; i++)
            if (items[i] != NULL)
                visit(items[i], context);
    }
    if (!(type->shape & PO_HAS_TRAVERSE))
        return;
    if (PM_UNLIKELY(type->heap->watched != 0))
        traverse_watched(object, type, visit, context);
    else
        type->traverse(object, visit, context);
}
