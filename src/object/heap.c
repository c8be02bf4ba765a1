/* SPDX-License-Identifier: MIT
 *
 * Heaps: made and destroyed.
 */
#include <errno.h>
#include <string.h>

#include "../geometry.h"
#include "../lock.h"
#include "../os.h"
#include "store.h"

/* Structs of destroyed heaps, for the next ones: a heap that is used after it was destroyed is recognised. */
static struct pm_lock lock;
static po_heap *dead_heaps;
static uint64_t next_serial;

static po_heap *
allocate(void)
{
    pm_lock_acquire(&lock);
    po_heap *heap = dead_heaps;
    uint64_t serial = ++next_serial;
    if (heap != NULL)
        dead_heaps = *(po_heap **)(heap + 1);
    pm_lock_release(&lock);
    if (heap != NULL)
        memset(heap, 0, sizeof(po_heap));
    else if ((heap = po_map(sizeof(po_heap) + sizeof(po_heap *))) == NULL)
        return NULL;
    heap->serial = serial;
    return heap;
}

static void
bury_heap(po_heap *heap)
{
    heap->magic = PO_HEAP_DEAD;
    heap->serial = 0;
    pm_lock_acquire(&lock);
    *(po_heap **)(heap + 1) = dead_heaps;
    dead_heaps = heap;
    pm_lock_release(&lock);
}

po_heap *
po_heap_create(const struct po_heap_options *options)
{
    static const struct po_heap_options defaults;
    static const unsigned thresholds[3] = {700, 10, 10};
    if (options == NULL)
        options = &defaults;
    if (options->collect < PO_COLLECT_IN_NEW || options->collect > PO_COLLECT_BY_HAND) {
        errno = EINVAL;
        return NULL;
    }
    po_heap *heap = po_store_start() && po_types_start() ? allocate() : NULL;
    if (heap == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    heap->magic = PO_HEAP_MAGIC;
    heap->threshold_is_default = true;
    for (unsigned i = 0; i < 3; i++) {
        heap->threshold[i] = options->threshold[i] != 0 ? options->threshold[i] : thresholds[i];
        heap->threshold_is_default &= options->threshold[i] == 0;
    }
    heap->collect_mode = options->collect;
    heap->max_pause_ns = options->max_pause_ns;
    heap->memory_limit = options->memory_limit;
    heap->enabled = true;
    po_debug_start(heap);
    po_young_start(heap);
    po_young_set_limit(heap);
    return heap;
}

static void
count_outside(po_heap *heap, struct po_array *outside)
{
    if (!po_verify_counts(heap, outside))
        po_say("po_heap_destroy: no memory to count what is still referenced", NULL, NULL, 0);
}

/* Destroys in place: nothing is given back block by block. */
static void
destroy_one(void *object, po_type *type, void *context)
{
    (void)context;
    struct po_header *header = po_header(object);
    if (header->info & PO_DYING)
        return;
    po_write_info(header, header->info | PO_DYING);
    if (type->destroy != NULL)
        type->destroy(object);
}

static void
clear_one(void *object, po_type *type, void *context)
{
    (void)context;
    /* Counts do not matter any more, so a type's own slots need not be cleared. */
    if (type->clear != NULL && !po_has_flag(object, PO_DYING))
        type->clear(object);
}

static void
hold_one(void *object, po_type *type, void *context)
{
    (void)context, (void)type;
    po_header(object)->count = PO_IMMORTAL_COUNT;
}

/* Whatever is left goes; nothing may be released meanwhile by a count, so all are immortal for their last moment. */
static void
destroy_objects(po_heap *heap)
{
    heap->collecting = true;
    po_walk(heap, PO_WALK_ALL, hold_one, NULL);
    po_walk(heap, PO_WALK_ALL, clear_one, NULL);
    po_walk(heap, PO_WALK_ALL, destroy_one, NULL);
}

size_t
po_heap_destroy(po_heap *heap)
{
    struct po_array outside = {0};
    if (heap == NULL)
        return 0;
    po_check_heap(heap, "po_heap_destroy");
    if (heap->collecting || heap->releasing || heap->release_depth != 0)
        po_fault_call("po_heap_destroy", "called by a finalizer, callback or visitor of the heap");
    po_store_drain(heap);
    /* Garbage that keeps making new garbage in its finalizers is given up after some rounds. */
    for (unsigned round = 0; round < 8 && po_collect_now(heap, 2) != 0; round++)
        ;
    count_outside(heap, &outside);
    po_debug_end(heap, &outside);
    size_t count = outside.count;
    po_array_free(&outside);
    po_weak_heap_dies(heap);
    destroy_objects(heap);
    po_old_end(heap);
    po_subset_end(heap);
    po_array_free(&heap->young);
    po_array_free(&heap->middle);
    po_array_free(&heap->members);
    po_strings_destroy(heap);
    bool mixed = po_guests_destroy(heap);
    po_store_destroy(heap);
    /* Another heap may be looking at the type of an object that was here a moment ago. */
    if (!mixed)
        po_types_destroy(heap);
    bury_heap(heap);
    return count;
}

void
po_heap_adopt(po_heap *heap)
{
    if (heap == NULL || heap->magic != PO_HEAP_MAGIC)
        po_fault_call("po_heap_adopt", heap == NULL ? "no heap" : "the heap was destroyed");
    heap->owner = po_thread_number();
}
