/* SPDX-License-Identifier: MIT
 *
 * The young: a log of tracked objects as they are made, and the middle generation, a list. An entry whose object died
 * stays until the log is compacted; it points to a block that is free, or has a newer object, which has an entry of
 * its own. Large objects have their number as an entry. Whatever is in neither is old. The log's first entry is NULL,
 * so that a release may look at the last one.
 *
 * When the log cannot grow it is given up: its objects are then old, and the next collection is one of all.
 */
#include <string.h>

#include "../geometry.h"
#include "store.h"

#define LOG_MAX ((size_t)1 << 20)
#define STEP_EVERY 1024u
#define KEEP_MAX ((size_t)16384)
#define OBJECT_NS 60u /* what a young collection takes for each object, with room to spare */

static void *no_log[1];

static void
use_log(po_heap *heap)
{
    struct po_array *young = &heap->young;
    heap->log_top = young->items != NULL ? young->items + young->count : no_log + 1;
    heap->log_end = young->items != NULL ? young->items + young->capacity : no_log + 1;
}

void
po_young_sync(po_heap *heap)
{
    if (heap->young.items != NULL)
        heap->young.count = (size_t)(heap->log_top - heap->young.items);
}

static void
reset(po_heap *heap)
{
    heap->young.count = heap->young.items != NULL;
    use_log(heap);
}

bool
po_young_start(po_heap *heap)
{
    if (heap->young.items == NULL && po_array_reserve(&heap->young, 512))
        heap->young.items[0] = NULL;
    reset(heap);
    return heap->young.items != NULL;
}

/* The young are part of the old from now on. */
void
po_young_forget(po_heap *heap)
{
    po_young_start(heap);
    heap->young_lost = false;
    heap->middle.count = 0;
    heap->young_count = 0;
    memset(heap->counts, 0, sizeof heap->counts);
}

/* The default threshold grows with what a young collection leaves alone. */
void
po_young_set_limit(po_heap *heap)
{
    size_t limit = heap->threshold[0];
    size_t old = (heap->old_total + heap->old_pending) / 16, most = LOG_MAX / 2;
    if (heap->max_pause_ns != 0 && heap->max_pause_ns / OBJECT_NS < most)
        most = heap->max_pause_ns / OBJECT_NS;
    old = old < most ? old : most;
    heap->young_is_large = heap->threshold_is_default && old > limit;
    if (heap->young_is_large)
        limit = old;
    if (heap->threshold[0] == 0 || !heap->enabled || heap->collect_mode == PO_COLLECT_BY_HAND)
        limit = UINT32_MAX;
    heap->young_due = (uint32_t)limit;
    /* While a full collection is under way there are steps in between. */
    if (heap->old != NULL && limit != UINT32_MAX && heap->young_count + STEP_EVERY < limit)
        limit = heap->young_count + STEP_EVERY;
    heap->young_limit = (uint32_t)limit;
}

/* Keeps the entries of objects that are alive, each once. */
static void
compact(po_heap *heap, struct po_array *array, size_t first)
{
    void **kept = array->items + first, **end = array->items + array->count;
    for (void **entry = kept; entry < end; entry++) {
        void *object = po_entry_object(heap, *entry);
        if (object == NULL)
            continue;
        struct po_header *header = po_header(object);
        if (header->info == 0 || (header->info & (PO_MARKED | PO_DYING | PO_SHARED)) != 0)
            continue;
        po_write_info(header, header->info | PO_MARKED);
        *kept++ = *entry;
    }
    array->count = (size_t)(kept - array->items);
    for (void **entry = array->items + first; entry < kept; entry++) {
        struct po_header *header = po_header(po_entry_object(heap, *entry));
        po_write_info(header, header->info & ~(uint32_t)PO_MARKED);
    }
}

/* An object may have gone to another heap: called before anything there may look at it. */
static void
remove_foreign(po_heap *heap, struct po_array *array, size_t first)
{
    size_t kept = first;
    for (size_t i = first; i < array->count; i++) {
        void *object = po_entry_object(heap, array->items[i]);
        if (object != NULL && po_header(object)->info != 0 && po_type_in(object)->heap == heap)
            array->items[kept++] = array->items[i];
    }
    array->count = kept;
}

void
po_young_remove_foreign(po_heap *heap)
{
    po_young_sync(heap);
    if (heap->young.items != NULL)
        remove_foreign(heap, &heap->young, 1);
    remove_foreign(heap, &heap->middle, 0);
    use_log(heap);
}

void
po_young_compact(po_heap *heap)
{
    po_young_sync(heap);
    if (heap->young.items != NULL)
        compact(heap, &heap->young, 1);
    compact(heap, &heap->middle, 0);
    use_log(heap);
}

PM_NOINLINE void
po_young_log_slow(po_heap *heap, void *entry)
{
    if (!heap->young_lost && heap->young.items != NULL) {
        po_young_sync(heap);
        compact(heap, &heap->young, 1);
        size_t capacity = heap->young.capacity;
        bool crowded = heap->young.count > capacity / 2;
        if (crowded && (2 * capacity > LOG_MAX || !po_array_reserve(&heap->young, 2 * capacity)))
            heap->young_lost = heap->young.count == heap->young.capacity || 2 * capacity > LOG_MAX;
        use_log(heap);
    }
    if (heap->young.items == NULL)
        heap->young_lost = !po_young_start(heap);
    if (heap->young_lost)
        reset(heap);
    if (heap->log_top != heap->log_end)
        *heap->log_top++ = entry;
}

/* The objects of a log's entries. */
static bool
append_objects(const po_heap *heap, struct po_array *array, void *const *entries, size_t count)
{
    if (!po_array_reserve(array, array->count + count))
        return false;
    for (size_t i = 0; i < count; i++) {
        void *object = po_entry_object(heap, entries[i]);
        if (object != NULL)
            array->items[array->count++] = object;
    }
    return true;
}

static bool
append_entries(struct po_array *array, void *const *objects, size_t count)
{
    if (!po_array_reserve(array, array->count + count))
        return false;
    for (size_t i = 0; i < count; i++)
        array->items[array->count++] = po_entry_of(objects[i]);
    return true;
}

static void
grow_old(po_heap *heap, const struct po_array *members, size_t count)
{
    heap->old_pending += count;
    po_old_exclude(heap, members->items, count);
}

static void
keep_members(po_heap *heap, struct po_array *members)
{
    if (members->capacity <= KEEP_MAX)
        heap->members = *members;
    else
        po_array_free(members);
}

/* Generation 0 or 1. */
size_t
po_young_collect(po_heap *heap, int generation, bool *put_off)
{
    /* Small ones keep their memory from one collection to the next. */
    struct po_array members = heap->members;
    size_t reachable, found = 0, first = heap->young.items != NULL;
    heap->members = (struct po_array){0};
    members.count = 0;
    po_young_sync(heap);
    if ((generation == 1 && !append_objects(heap, &members, heap->middle.items, heap->middle.count)) ||
        !append_objects(heap, &members, heap->young.items + first, heap->young.count - first) ||
        !po_subset_split(heap, &members, 0, &reachable)) {
        *put_off = true;
        keep_members(heap, &members);
        return 0;
    }
    reset(heap);
    heap->young_count = 0;
    if (generation == 1) {
        heap->middle.count = 0;
        grow_old(heap, &members, reachable);
    } else if (heap->young_is_large || !append_entries(&heap->middle, members.items, reachable)) {
        /* So many have seen enough; and without a list they are old. */
        grow_old(heap, &members, reachable);
    }
    heap->counts[generation] = 0;
    heap->counts[generation + 1]++;
    if (reachable != members.count) {
        struct po_array garbage = {members.items + reachable, members.count - reachable, members.count - reachable};
        found = po_dispose(heap, &garbage, &heap->stats[generation].uncollectable, put_off);
    }
    keep_members(heap, &members);
    return found;
}
