/* SPDX-License-Identifier: MIT
 *
 * What does not fit in a cell of one byte: a small table from objects to the rest of their counts. An object has an
 * entry when its cell has overflowed once, so there is one for hundreds of references at most.
 */
#ifndef PO_CARRY_H
#define PO_CARRY_H

#include "object.h"

#pragma GCC visibility push(hidden)

struct po_carry {
    const void *object;
    uint64_t count;
};

struct po_carries {
    struct po_carry *entries;
    size_t count, capacity; /* a power of two, half of them free */
    bool failed;            /* there was no memory: the counts are wrong */
};

/* NULL: the object has none. */
struct po_carry *po_carry_entry(const struct po_carries *carries, const void *object);
void po_carry_add(struct po_carries *carries, const void *object, uint64_t count);
void po_carry_reset(struct po_carries *carries);
void po_carry_free(struct po_carries *carries);

uint64_t po_carry_find_slow(const struct po_carries *carries, const void *object);

PM_INLINE uint64_t
po_carry_find(const struct po_carries *carries, const void *object)
{
    return PM_LIKELY(carries->count == 0) ? 0 : po_carry_find_slow(carries, object);
}

#pragma GCC visibility pop

#endif
