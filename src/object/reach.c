/* SPDX-License-Identifier: MIT */
#include "reach.h"

static bool
is_part(const void *object)
{
    return !po_has_flag(object, PO_SHARED) && po_count_of(po_header(object)) != UINT32_MAX;
}

static void
count_reference(void *referent, void *context)
{
    struct po_reach *reach = context;
    if (referent == NULL || !is_part(referent))
        return;
    if (po_carry_entry(&reach->counts, referent) == NULL && !po_array_push(&reach->objects, referent))
        reach->counts.failed = true;
    po_carry_add(&reach->counts, referent, 1);
}

bool
po_reach(struct po_reach *reach, void *object)
{
    if (!po_array_push(&reach->objects, object))
        return false;
    po_carry_add(&reach->counts, object, 0);
    for (size_t i = 0; i < reach->objects.count && !reach->counts.failed; i++)
        po_visit(reach->objects.items[i], po_type_in(reach->objects.items[i]), count_reference, reach);
    return !reach->counts.failed;
}

void
po_reach_free(struct po_reach *reach)
{
    po_array_free(&reach->objects);
    po_carry_free(&reach->counts);
}
