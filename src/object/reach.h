/* SPDX-License-Identifier: MIT
 *
 * What an object reaches, and by how many references of each other: for sharing and transferring graphs. Shared and
 * immortal objects are not part of it.
 */
#ifndef PO_REACH_H
#define PO_REACH_H

#include "carry.h"

#pragma GCC visibility push(hidden)

struct po_reach {
    struct po_array objects;  /* the first is the root */
    struct po_carries counts; /* of the references among them, for each of them */
};

/* False: no memory. Free the result in either case. */
bool po_reach(struct po_reach *reach, void *object);
void po_reach_free(struct po_reach *reach);

#pragma GCC visibility pop

#endif
