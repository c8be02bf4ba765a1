/* SPDX-License-Identifier: MIT
 *
 * New objects, and what can be asked of one.
 */
#include <errno.h>
#include <string.h>

#include "store.h"

/* Most objects have few words: a call of memset would take longer. Pairs at both ends cover up to eight. */
PM_INLINE void
zero_words(uint64_t *words, uint32_t count)
{
    if (PM_LIKELY(count - 2 <= 2)) {
        memset(words, 0, 16);
        memset(words + count - 2, 0, 16);
    } else if (count == 1) {
        words[0] = 0;
    } else if (count <= 8) {
        memset(words, 0, 32);
        memset(words + count - 4, 0, 32);
    } else {
        memset(words, 0, count * sizeof(uint64_t));
    }
}

/* A block for an object, out of the usual way: the magazine is empty, or there is none. */
static void *
take_block(po_heap *heap, struct po_magazine *magazine)
{
    if (magazine->top == magazine->bottom && !po_store_refill(heap, magazine))
        return NULL;
    return *--magazine->top;
}

/* A block for `bytes` of payload. */
static void *
try_block(po_heap *heap, const po_type *type, size_t bytes)
{
    bool large;
    unsigned kind = (type->tracked ? 0u : PO_KIND_ACYCLIC) | (type->has_items ? PO_KIND_ITEMS : 0u) |
                    (type->flags & PO_ALIGN_16 ? PO_KIND_ALIGN_16 : 0u);
    struct po_magazine *magazine = po_store_magazine(heap, bytes, kind, &large);
    void *object = large ? po_store_large(heap, bytes) : magazine != NULL ? take_block(heap, magazine) : NULL;
    if (object == NULL)
        return NULL;
    uint64_t header = type->fresh;
    if (large)
        header |= (uint64_t)PO_LARGE << 32;
    else
        memset(object, 0, magazine->units * 8u - (type->has_items ? 16u : 8u));
    __atomic_store_n((uint64_t *)object - 1, header, __ATOMIC_RELAXED);
    return object;
}

static PM_NOINLINE void *
new_slow(po_type *type, size_t count, size_t bytes)
{
    if (PM_UNLIKELY(type == NULL || type->heap == NULL)) {
        errno = EINVAL;
        return NULL;
    }
    po_heap *heap = type->heap;
    po_check_heap(heap, "po_new");
    if (heap->collect_mode == PO_COLLECT_IN_NEW && (heap->debug & PO_DEBUG_TORTURE) && heap->enabled)
        po_collect_now(heap, 2);
    else if (type->tracked && heap->young_count >= heap->young_limit && heap->collect_mode == PO_COLLECT_IN_NEW)
        po_collect_if_due(heap);
    void *object = try_block(heap, type, bytes);
    if (object == NULL && !heap->collecting) {
        po_collect_now(heap, 2);
        po_store_trim(heap);
        object = try_block(heap, type, bytes);
    }
    if (object == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (type->has_items)
        *po_items_word(object) = count;
    if (type->tracked) {
        heap->young_count++;
        po_young_log(heap, po_entry_of(object));
    }
    return object;
}

void *
po_new(po_type *type)
{
    if (PM_UNLIKELY(type == NULL))
        return new_slow(NULL, 0, 0);
    struct po_magazine *magazine = type->magazine;
    void **top = magazine->top;
    if (PM_UNLIKELY(top == magazine->bottom))
        return new_slow(type, 0, type->size);
    uint64_t *object = top[-1];
    if (type->tracked) {
        po_heap *heap = type->heap;
        void **log = heap->log_top;
        if (PM_UNLIKELY(heap->young_count >= heap->young_limit || log == heap->log_end))
            return new_slow(type, 0, type->size);
        heap->young_count++;
        *log = object;
        heap->log_top = log + 1;
    }
    magazine->top = top - 1;
    __atomic_store_n(&object[-1], type->fresh, __ATOMIC_RELAXED); /* others may look at it, see transfer.c */
    zero_words(object, type->words);
    return object;
}

void *
po_new_items(po_type *type, size_t count)
{
    size_t items = 0, bytes = 0;
    if (type == NULL || (count != 0 && !type->has_items)) {
        errno = EINVAL;
        return NULL;
    }
    if (__builtin_mul_overflow(count, type->item_size, &items) || __builtin_add_overflow(items, type->size, &bytes) ||
        bytes > PTRDIFF_MAX - 4096) {
        errno = ENOMEM;
        return NULL;
    }
    /* A string has a zero byte behind its last one. */
    bytes += type == type->heap->string_type;
    return new_slow(type, count, bytes);
}

size_t
po_item_count(const void *object)
{
    return po_type_in(object)->has_items ? (size_t)*po_items_word(object) : 0;
}

po_type *
po_type_of(const void *object)
{
    return po_type_in(object);
}

po_heap *
po_heap_of(const void *object)
{
    return po_type_in(object)->heap;
}

size_t
po_refcount(const void *object)
{
    const struct po_header *header = po_header(object);
    if (po_read_info(header) & PO_DYING)
        return 0;
    uint32_t count = po_count_of(header);
    return count == UINT32_MAX ? SIZE_MAX : count;
}

bool
po_is_immortal(const void *object)
{
    return !po_has_flag(object, PO_DYING) && po_count_of(po_header(object)) == UINT32_MAX;
}

void
po_make_immortal(void *object)
{
    if (object != NULL && !po_has_flag(object, PO_DYING))
        __atomic_store_n(&po_header(object)->count, PO_IMMORTAL_COUNT, __ATOMIC_RELAXED);
}

/* ---- Slots ---- */

/* A slot in a pool belongs to that pool's heap. */
static void
check_store(void **slot, void *value)
{
    const struct po_place *place = po_place_of(slot);
    if (PM_LIKELY(place == NULL || place->heap == NULL))
        return;
    const struct po_place *of_value = po_place_of(value);
    if (PM_LIKELY(of_value == place))
        return;
    po_heap *heap = of_value != NULL && of_value->heap == place->heap ? place->heap : po_heap_of(value);
    if (PM_UNLIKELY(heap != place->heap) && !po_has_flag(value, PO_SHARED) && !po_arena_at(slot)->mixed &&
        !(of_value != NULL && po_arena_at(value)->mixed))
        po_fault("an object of type %s was stored in an object of another heap", po_type_in(value), NULL);
}

void
po_set_steal(void **slot, void *value)
{
    if (value != NULL)
        check_store(slot, value);
    void *old = *slot;
    *slot = value;
    po_decref(old);
}

void
po_set(void **slot, void *value)
{
    po_set_steal(slot, po_incref(value));
}

void
po_clear(void **slot)
{
    void *old = *slot;
    *slot = NULL;
    po_decref(old);
}
