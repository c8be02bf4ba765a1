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

/* The object is no longer frozen. */
void po_thaw(po_heap *heap, void *object);

/* share.c */
void po_shared_decref(void *object);

/* transfer.c: a block of the heap in an arena of another one; its header is 0. */
void po_store_free_guest(po_heap *heap, void *object);

#pragma GCC visibility pop

#endif
