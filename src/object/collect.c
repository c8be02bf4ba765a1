/* SPDX-License-Identifier: MIT
 *
 * When the collector runs, and what it tells about it.
 *
 * Collections start by count, as CPython's do, and by memory: the bytes in use may exceed those after the last full
 * collection by PACE_BASE or 15 of 64 parts, whichever is more, before another full one; and a collection of the
 * young runs for each PACE_YOUNG bytes or 32nd part of what is in use.
 */
#include <string.h>

#include "store.h"

#define PACE_BASE ((size_t)3 << 19)  /* 1.5 MB */
#define PACE_YOUNG ((size_t)1 << 18) /* 256 KiB */
#define STEP_LEAST 8192u             /* objects visited by a step */
#define VISITS 4u                    /* of an object in a full collection */

static size_t
larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* How many bytes more than the last full collection left may be in use. */
static size_t
float_limit(const po_heap *heap)
{
    return larger(PACE_BASE, heap->bytes_after_full / 64 * 15);
}

static size_t
bytes_since_full(const po_heap *heap)
{
    return heap->used_bytes > heap->bytes_after_full ? heap->used_bytes - heap->bytes_after_full : 0;
}

/* Steps begin at three quarters of the limit, and shall be done long before it. */
static bool
is_full_due_by_memory(const po_heap *heap)
{
    return bytes_since_full(heap) > (heap->max_pause_ns != 0 ? float_limit(heap) / 4 * 3 : float_limit(heap));
}

static bool
is_young_due_by_memory(const po_heap *heap)
{
    return heap->used_bytes > heap->bytes_after_any &&
           heap->used_bytes - heap->bytes_after_any > larger(PACE_YOUNG, heap->bytes_after_any / 32);
}

void
po_collect_pace(po_heap *heap)
{
    if (PM_UNLIKELY(is_young_due_by_memory(heap)) && heap->young_limit != UINT32_MAX && heap->young_count != 0)
        heap->young_limit = 0; /* the next tracked object finds out */
}

/* ---- One collection ---- */

static void
account(po_heap *heap, int generation, uint64_t began, size_t found)
{
    struct po_gc_stats *stats = &heap->stats[generation];
    uint64_t pause = po_now() - began;
    stats->collections++;
    stats->collected += found;
    stats->pause_ns_total += pause;
    if (pause > stats->pause_ns_max)
        stats->pause_ns_max = pause;
}

static size_t
collect_full(po_heap *heap, bool *put_off)
{
    struct po_array garbage = {0};
    size_t survivors = 0, found = 0;
    if (!po_old_collect(heap, &garbage, &survivors)) {
        *put_off = true;
        return 0;
    }
    po_young_forget(heap);
    heap->old_pending = 0;
    heap->old_total = survivors;
    if (garbage.count != 0) {
        struct po_array rest = garbage;
        found = po_dispose(heap, &rest, &heap->stats[2].uncollectable, put_off);
    }
    po_array_free(&garbage);
    heap->bytes_after_full = heap->used_bytes;
    return found;
}

static void
after_collection(po_heap *heap)
{
    heap->bytes_after_any = heap->used_bytes;
    po_young_set_limit(heap);
}

static void
call_back(po_heap *heap, bool begins, int generation)
{
    if (heap->callback != NULL)
        heap->callback(heap, begins, generation, heap->callback_context);
}

size_t
po_collect_now(po_heap *heap, int generation)
{
    bool put_off = false;
    size_t found;
    if (heap->collecting)
        return 0;
    heap->collecting = true;
    call_back(heap, true, generation);
    uint64_t began = po_now();
    po_store_drain(heap);
    if (heap->debug & PO_DEBUG_VERIFY) {
        po_verify_counts(heap, NULL);
        po_debug_scan(heap);
    }
    /* Without a log nobody knows the young. */
    if (generation == 2 || heap->young_lost) {
        po_old_end(heap);
        found = collect_full(heap, &put_off);
    } else {
        found = po_young_collect(heap, generation, &put_off);
    }
    heap->put_off += put_off;
    if (!put_off || found != 0)
        account(heap, generation, began, found);
    after_collection(heap);
    if (put_off) /* not at the next object again */
        heap->young_count = 0;
    call_back(heap, false, generation);
    heap->collecting = false;
    if (generation == 2 && !put_off)
        po_store_trim(heap);
    return found;
}

/* ---- Steps of a full collection ---- */

static bool
step(po_heap *heap, uint64_t max_ns, size_t work)
{
    uint64_t began = po_now();
    if (heap->collecting)
        return false;
    if (heap->old == NULL) {
        if (!po_old_begin(heap)) {
            heap->put_off++;
            return false;
        }
        heap->bytes_at_begin = heap->bytes_at_step = heap->used_bytes;
    }
    heap->collecting = true;
    bool more = !po_old_step(heap, max_ns > UINT64_MAX - began ? UINT64_MAX : began + max_ns, work);
    heap->collecting = false;
    struct po_gc_stats *stats = &heap->stats[2];
    if (more) {
        uint64_t pause = po_now() - began;
        stats->pause_ns_total += pause;
        stats->pause_ns_max = pause > stats->pause_ns_max ? pause : stats->pause_ns_max;
        heap->bytes_at_step = heap->used_bytes;
        po_young_set_limit(heap);
        return true;
    }
    struct po_array garbage = {0};
    size_t found = 0, survivors = 0;
    bool put_off = false;
    heap->collecting = true;
    call_back(heap, true, 2);
    began = po_now();
    size_t bytes = heap->used_bytes;
    if (heap->old == NULL) {
        /* The callback froze or transferred objects, which has ended the steps. */
    } else if (po_old_guess(heap, &garbage, &survivors)) {
        struct po_array rest = garbage;
        heap->old_total = survivors;
        heap->old_pending = heap->young_lost ? survivors / 4 + 1 : 0;
        if (rest.count != 0)
            found = po_dispose(heap, &rest, &stats->uncollectable, &put_off);
        heap->counts[2] = 0;
        /* What was allocated since the beginning may be garbage already. */
        size_t freed = bytes > heap->used_bytes ? bytes - heap->used_bytes : 0;
        size_t before = larger(heap->bytes_at_begin, freed) - freed;
        heap->bytes_after_full = before < heap->used_bytes ? before : heap->used_bytes;
    } else {
        heap->put_off++;
    }
    po_array_free(&garbage);
    account(heap, 2, began, found);
    after_collection(heap);
    call_back(heap, false, 2);
    heap->collecting = false;
    return false;
}

/* ---- When ---- */

static bool
is_full_due(const po_heap *heap)
{
    return (heap->counts[2] > heap->threshold[2] && heap->old_pending > heap->old_total / 4) ||
           is_full_due_by_memory(heap);
}

/* So much that the steps are done when an eighth of the limit has been allocated since they began. */
static size_t
step_work(const po_heap *heap)
{
    size_t bytes = heap->used_bytes > heap->bytes_at_step ? heap->used_bytes - heap->bytes_at_step : 0;
    size_t whole = (heap->old_total + heap->old_pending + heap->middle.count) * VISITS + 4096;
    return (size_t)((double)whole * 8.0 * (double)bytes / (double)float_limit(heap)) + STEP_LEAST;
}

/* The bound on what floats is kept even where steps would have to be longer for it. */
static void
step_if_due(po_heap *heap)
{
    bool late = bytes_since_full(heap) > float_limit(heap);
    step(heap, late ? UINT64_MAX : heap->max_pause_ns, late ? SIZE_MAX : step_work(heap));
}

void
po_collect_if_due(po_heap *heap)
{
    bool young = heap->young_count >= heap->young_due || is_young_due_by_memory(heap);
    if (heap->collecting)
        return;
    if (!heap->enabled || heap->threshold[0] == 0 || (!young && heap->old == NULL)) {
        po_young_set_limit(heap);
        return;
    }
    bool full = is_full_due(heap) || heap->old != NULL;
    if (full && heap->max_pause_ns == 0) {
        po_collect_now(heap, 2);
        return;
    }
    if (young)
        po_collect_now(heap, heap->counts[1] > heap->threshold[1] ? 1 : 0);
    if (full)
        step_if_due(heap);
}

/* ---- The interface ---- */

size_t
po_gc_collect(po_heap *heap, int generation)
{
    po_check_heap(heap, "po_gc_collect");
    if (generation < 0 || generation > 2)
        po_fault_call("po_gc_collect", "no such generation");
    return po_collect_now(heap, generation);
}

void
po_safepoint(po_heap *heap)
{
    po_check_heap(heap, "po_safepoint");
    if (heap->collect_mode != PO_COLLECT_BY_HAND)
        po_collect_if_due(heap);
}

bool
po_gc_step(po_heap *heap, uint64_t max_ns)
{
    po_check_heap(heap, "po_gc_step");
    return step(heap, max_ns, SIZE_MAX);
}

void
po_gc_enable(po_heap *heap)
{
    po_check_heap(heap, "po_gc_enable");
    heap->enabled = true;
    po_young_set_limit(heap);
}

void
po_gc_disable(po_heap *heap)
{
    po_check_heap(heap, "po_gc_disable");
    heap->enabled = false;
    po_young_set_limit(heap);
}

bool
po_gc_is_enabled(po_heap *heap)
{
    po_check_heap(heap, "po_gc_is_enabled");
    return heap->enabled;
}

void
po_gc_set_threshold(po_heap *heap, const unsigned threshold[3])
{
    po_check_heap(heap, "po_gc_set_threshold");
    memcpy(heap->threshold, threshold, sizeof heap->threshold);
    heap->threshold_is_default = false;
    po_young_set_limit(heap);
}

void
po_gc_get_threshold(po_heap *heap, unsigned threshold[3])
{
    po_check_heap(heap, "po_gc_get_threshold");
    memcpy(threshold, heap->threshold, sizeof heap->threshold);
}

void
po_gc_get_count(po_heap *heap, unsigned count[3])
{
    po_check_heap(heap, "po_gc_get_count");
    count[0] = heap->young_count;
    count[1] = heap->counts[1];
    count[2] = heap->counts[2];
}

void
po_gc_get_stats(po_heap *heap, struct po_gc_stats stats[3])
{
    po_check_heap(heap, "po_gc_get_stats");
    memcpy(stats, heap->stats, sizeof heap->stats);
}

bool
po_gc_is_tracked(const void *object)
{
    return !po_has_flag(object, PO_UNTRACKED | PO_SHARED);
}

bool
po_gc_is_finalized(const void *object)
{
    return po_has_flag(object, PO_FINALIZED);
}

void
po_gc_set_callback(po_heap *heap, void (*callback)(po_heap *, bool, int, void *), void *context)
{
    po_check_heap(heap, "po_gc_set_callback");
    heap->callback = callback;
    heap->callback_context = context;
}

/* ---- Visiting ---- */

struct each {
    po_heap *heap;
    po_visitor *visit;
    void *context;
    const void *object; /* whose referrers are wanted */
    bool found;
};

static void
visit_tracked(void *object, po_type *type, void *context)
{
    struct each *each = context;
    if (type->tracked && !po_has_flag(object, PO_SHARED | PO_DYING))
        each->visit(object, each->context);
}

static bool
is_in(const struct po_array *sorted, const void *object)
{
    size_t low = 0, high = sorted->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)sorted->items[middle] < (uintptr_t)object)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sorted->count && sorted->items[low] == object;
}

static void
sift(void **items, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && (uintptr_t)items[child] < (uintptr_t)items[child + 1])
            child++;
        if ((uintptr_t)items[root] >= (uintptr_t)items[child])
            return;
        void *item = items[root];
        items[root] = items[child];
        items[child] = item;
    }
}

/* Without memory, without recursion. */
static void
sort(struct po_array *array, size_t first)
{
    void **items = array->items + first;
    size_t count = array->count - first;
    for (size_t i = count / 2; i > 0; i--)
        sift(items, i - 1, count);
    for (size_t i = count; i > 1; i--) {
        void *item = items[0];
        items[0] = items[i - 1];
        items[i - 1] = item;
        sift(items, 0, i - 1);
    }
}

struct generation {
    struct each each;
    struct po_array young;
};

static void
visit_generation(void *object, po_type *type, void *context)
{
    struct generation *generation = context;
    struct po_array middle = generation->each.heap->middle;
    const void *entry = po_entry_of(object);
    if (!is_in(&generation->young, entry) && !is_in(&middle, entry))
        visit_tracked(object, type, &generation->each);
}

void
po_gc_each(po_heap *heap, int generation, po_visitor *visit, void *context)
{
    po_check_heap(heap, "po_gc_each");
    if (generation < -1 || generation > 2)
        po_fault_call("po_gc_each", "no such generation");
    struct each each = {.heap = heap, .visit = visit, .context = context};
    if (generation == -1) {
        po_walk(heap, PO_WALK_TRACKED, visit_tracked, &each);
        return;
    }
    /* Sorted, which the logs may well be: without the NULL in front. */
    po_young_compact(heap);
    size_t first = heap->young.items != NULL;
    sort(&heap->young, first);
    sort(&heap->middle, 0);
    struct generation old = {each, {heap->young.items + first, heap->young.count - first, 0}};
    for (size_t i = 0; generation == 0 && i < old.young.count; i++)
        visit(po_entry_object(heap, old.young.items[i]), context);
    for (size_t i = 0; generation == 1 && i < heap->middle.count; i++)
        if (!is_in(&old.young, heap->middle.items[i]))
            visit(po_entry_object(heap, heap->middle.items[i]), context);
    if (generation == 2)
        po_walk(heap, PO_WALK_TRACKED, visit_generation, &old);
}

static void
compare_referent(void *referent, void *context)
{
    struct each *each = context;
    each->found |= referent == each->object;
}

static void
visit_referrer(void *object, po_type *type, void *context)
{
    struct each *each = context;
    if (po_has_flag(object, PO_DYING))
        return;
    each->found = false;
    po_visit(object, type, compare_referent, each);
    if (each->found)
        each->visit(object, each->context);
}

void
po_gc_each_referrer(void *object, po_visitor *visit, void *context)
{
    struct each each = {.visit = visit, .context = context, .object = object};
    po_walk(po_heap_of(object), PO_WALK_ALL, visit_referrer, &each);
}

static void
visit_referent(void *referent, void *context)
{
    struct each *each = context;
    if (referent != NULL)
        each->visit(referent, each->context);
}

void
po_gc_each_referent(void *object, po_visitor *visit, void *context)
{
    struct each each = {.visit = visit, .context = context};
    po_visit(object, po_type_in(object), visit_referent, &each);
}
