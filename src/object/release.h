/* SPDX-License-Identifier: MIT
 *
 * Stacks of objects that wait to be released: linked through their counts, see release.c.
 */
#ifndef PO_RELEASE_H
#define PO_RELEASE_H

#include "object.h"

#pragma GCC visibility push(hidden)

struct po_dying {
    void *small, *large;
};

/* Marks the object as dying; false: it lies too far away to be linked. */
bool po_dying_push(struct po_dying *dying, void *object);
/* NULL: the stack is empty. */
void *po_dying_pop(struct po_dying *dying);

/* Tests lower it. */
extern uint32_t po_link_limit;

/* Flags of which an object's death takes no notice. */
#define PO_PECULIAR (PO_FLAG_MASK & ~(uint32_t)(PO_UNTRACKED | PO_FINALIZED))

/* Whether nothing is to be done at the object's death but to drop the references of its type's table. */
PM_INLINE bool
po_is_quick(uint32_t info, const po_type *type)
{
    return PM_LIKELY((info & PO_PECULIAR) == 0) && type->quick != NULL;
}

/* The object is no longer frozen. */
void po_thaw(po_heap *heap, void *object);

/* transfer.c: a block of the heap in an arena of another one; its header is 0. */
void po_store_free_guest(po_heap *heap, void *object);

#pragma GCC visibility pop

#endif
