/* SPDX-License-Identifier: MIT */
#include "carry.h"

#include <string.h>

static struct po_carry *
find(const struct po_carries *carries, const void *object)
{
    size_t mask = carries->capacity - 1;
    size_t at = (((uintptr_t)object >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
    while (carries->entries[at].object != NULL && carries->entries[at].object != object)
        at = (at + 1) & mask;
    return &carries->entries[at];
}

static bool
grow(struct po_carries *carries)
{
    struct po_carries old = *carries;
    size_t capacity = old.capacity != 0 ? 2 * old.capacity : 256;
    struct po_carry *entries = po_map(capacity * sizeof *entries);
    if (entries == NULL)
        return false;
    carries->entries = entries;
    carries->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].object != NULL)
            *find(carries, old.entries[i].object) = old.entries[i];
    po_unmap(old.entries, old.capacity * sizeof *entries);
    return true;
}

struct po_carry *
po_carry_entry(const struct po_carries *carries, const void *object)
{
    struct po_carry *entry = carries->capacity != 0 ? find(carries, object) : NULL;
    return entry != NULL && entry->object != NULL ? entry : NULL;
}

PM_NOINLINE void
po_carry_add(struct po_carries *carries, const void *object, uint64_t count)
{
    if (2 * (carries->count + 1) > carries->capacity && !grow(carries)) {
        carries->failed = true;
        return;
    }
    struct po_carry *entry = find(carries, object);
    carries->count += entry->object == NULL;
    entry->object = object;
    entry->count += count;
}

uint64_t
po_carry_find_slow(const struct po_carries *carries, const void *object)
{
    const struct po_carry *entry = find(carries, object);
    return entry->object != NULL ? entry->count : 0;
}

void
po_carry_reset(struct po_carries *carries)
{
    if (carries->count != 0)
        memset(carries->entries, 0, carries->capacity * sizeof *carries->entries);
    carries->count = 0;
    carries->failed = false;
}

void
po_carry_free(struct po_carries *carries)
{
    po_unmap(carries->entries, carries->capacity * sizeof *carries->entries);
    *carries = (struct po_carries){0};
}
