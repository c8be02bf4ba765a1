/* SPDX-License-Identifier: MIT
 *
 * Release: what happens when a count comes to 0. Objects whose turn has not come wait on a stack that is linked
 * through their own counts: 30 bits are the distance from the region's beginning in units of 16 bytes, PO_MARKED is
 * the next bit below. Large objects have a whole pointer for it. So a release of any depth takes no memory and one
 * frame of the C stack. What lies more than 16 GiB into the region has no link: it waits as a zombie, and is found by
 * a walk.
 *
 * Layer 2 of src/object: uses store.h; calls weak.c and string.c for objects with such flags.
 */
#include "release.h"

#include <string.h>

#include "store.h"

#define LINK_NONE UINT32_C(0xBFFFFFFF)
#define ZOMBIE PO_IMMORTAL_COUNT /* the link to the region's first bytes, where no object is */
#define DEPTH_MAX 8u             /* releases within finalizers within releases that run at once, not later */

uint32_t po_link_limit = (UINT32_C(1) << 30) - 2;

/* ---- The stack ---- */

/* False: the object has no link. */
static bool
push_small(void **stack, void *object)
{
    struct po_header *header = po_header(object);
    uintptr_t offset = (uintptr_t)object - po_base;
    if (PM_UNLIKELY(offset >> 4 > po_link_limit))
        return false;
    void *next = *stack;
    if (next == NULL) {
        header->count = LINK_NONE;
    } else {
        uintptr_t distance = (uintptr_t)next - po_base;
        header->count = PO_IMMORTAL_COUNT | (uint32_t)(distance >> 4);
        po_write_info(header, (header->info & ~(uint32_t)PO_MARKED) | (uint32_t)(distance >> 3 & 1));
    }
    *stack = object;
    return true;
}

static void *
pop_small(void **stack)
{
    void *object = *stack;
    struct po_header *header = po_header(object);
    uint32_t link = header->count, info = header->info;
    if (link == LINK_NONE)
        *stack = NULL;
    else
        *stack = (char *)po_base + ((uintptr_t)(link & ~PO_IMMORTAL_COUNT) << 4) + (info & PO_MARKED) * 8;
    po_write_info(header, info & ~(uint32_t)PO_MARKED);
    return object;
}

bool
po_dying_push(struct po_dying *dying, void *object)
{
    struct po_header *header = po_header(object);
    po_write_info(header, header->info | PO_DYING);
    if (PM_LIKELY(!(header->info & PO_LARGE)))
        return push_small(&dying->small, object);
    header->count = LINK_NONE;
    po_large_of(object)->next_dying = dying->large;
    dying->large = object;
    return true;
}

void *
po_dying_pop(struct po_dying *dying)
{
    if (PM_LIKELY(dying->small != NULL))
        return pop_small(&dying->small);
    void *object = dying->large;
    if (object != NULL)
        dying->large = po_large_of(object)->next_dying;
    return object;
}

/* ---- Code of the program ---- */

struct nested {
    struct po_dying dying;
    bool deeper;
};

/* What is released within a finalizer or callback is released at once, as long as the nesting is shallow. */
static struct nested
enter_program(po_heap *heap)
{
    struct nested nested = {{heap->dying, heap->dying_large}, heap->releasing && heap->release_depth < DEPTH_MAX};
    if (nested.deeper) {
        heap->dying = heap->dying_large = NULL;
        heap->releasing = false;
        heap->release_depth++;
    }
    return nested;
}

static void
leave_program(po_heap *heap, struct nested nested)
{
    if (!nested.deeper)
        return;
    heap->dying = nested.dying.small;
    heap->dying_large = nested.dying.large;
    heap->releasing = true;
    heap->release_depth--;
}

void
po_run_finalizer(void *object, const po_type *type)
{
    struct po_header *header = po_header(object);
    if (type->finalize == NULL || (header->info & PO_FINALIZED))
        return;
    po_write_info(header, header->info | PO_FINALIZED);
    struct nested nested = enter_program(type->heap);
    type->finalize(object);
    leave_program(type->heap, nested);
}

/* ---- One object ---- */

static void
drop_slot(void **slot)
{
    void *referent = *slot;
    if (referent == NULL)
        return;
    *slot = NULL;
    po_decref(referent);
}

static void
drop_visited(void *referent, void *context)
{
    (void)context;
    po_decref(referent);
}

static PM_NOINLINE void
drop_rest(void *object, const po_type *type)
{
    if (type->shape & PO_HAS_ITEMS) {
        void **items = (void **)((char *)object + type->size);
        for (size_t count = *po_items_word(object), i = 0; i < count; i++)
            drop_slot(&items[i]);
    }
    if (type->clear != NULL)
        type->clear(object);
    else if ((type->shape & PO_HAS_TRAVERSE) && (po_header(object)->info & PO_DYING))
        type->traverse(object, drop_visited, NULL);
}

void
po_drop_references(void *object, const po_type *type)
{
    const uint16_t *offsets = type->references;
    for (uint32_t i = 0; i < type->reference_count; i++)
        drop_slot((void **)((char *)object + offsets[i]));
    if (PM_UNLIKELY(type->shape != 0 || type->clear != NULL))
        drop_rest(object, type);
}

PM_NOINLINE void
po_thaw(po_heap *heap, void *object)
{
    if (heap->frozen == 0)
        return;
    const struct po_place *place = po_place_of(object);
    if (place == NULL) {
        struct po_large *large = po_large_of(object);
        heap->frozen -= large->frozen;
        large->frozen = 0;
        return;
    }
    uint32_t slot = place->slot;
    if ((place->heap != heap && !po_guest_slot(heap, object, &slot)) || !po_is_frozen(heap, slot, object))
        return;
    size_t granule = po_granule_of(slot, object);
    heap->frozen_bits[granule / 64] &= ~(UINT64_C(1) << (granule % 64));
    heap->frozen--;
}

/* Objects that come and go in the order of a stack leave nothing in the log. */
PM_INLINE void
forget_last(po_heap *heap, const void *object)
{
    heap->log_top -= heap->log_top[-1] == object;
}

/* The collector forgets a tracked object. */
PM_INLINE void
forget_young(po_heap *heap, const void *object)
{
    heap->young_count -= heap->young_count != 0;
    forget_last(heap, object);
}

/* The object is no longer one: the collector forgets it, its block is free. */
static void
give_back(void *object, po_heap *heap, const po_type *type)
{
    if (type->tracked)
        forget_young(heap, object);
    if (PM_UNLIKELY(heap->frozen != 0))
        po_thaw(heap, object);
    if (PM_UNLIKELY(po_header(object)->info & PO_LARGE)) {
        po_store_free_large(heap, object);
        return;
    }
    po_clear_header(po_header(object));
    if (PM_UNLIKELY(heap->guest_arenas != 0) && po_arena_at(object)->heap != heap)
        po_store_free_guest(heap, object);
    else
        po_store_free(heap, po_store_magazine_of(heap, object), object);
}

void
po_bury(void *object, po_heap *heap, const po_type *type)
{
    if (PM_UNLIKELY(type->destroy != NULL)) {
        heap->destroying = type->name;
        type->destroy(object);
        heap->destroying = NULL;
    }
    give_back(object, heap, type);
}

/* Finalizer, weak references, the table of strings. False: the object lives on. */
static PM_NOINLINE bool
say_goodbye(void *object, po_heap *heap, const po_type *type)
{
    struct po_header *header = po_header(object);
    if (type->finalize != NULL && !(header->info & PO_FINALIZED)) {
        uint32_t bias = heap->watched != 0 ? PO_WATCHED_COUNT : 0;
        po_write_info(header, header->info & ~(uint32_t)PO_DYING);
        header->count = bias | 1;
        po_run_finalizer(object, type);
        if (header->count != (bias | 1)) {
            /* Not if it was made immortal meanwhile. */
            if (header->count - bias > 1 && header->count - bias < PO_WATCHED_MASK)
                header->count--;
            return false;
        }
        po_write_info(header, header->info | PO_DYING);
        header->count = ZOMBIE + 1;
    }
    /* Before any code that may intern the same bytes. */
    if (header->info & PO_INTERNED)
        po_string_forget(heap, object);
    if (header->info & PO_HAS_WEAK) {
        struct nested nested = enter_program(heap);
        po_weak_object_dies(heap, object);
        leave_program(heap, nested);
    }
    return true;
}

static void
release_one(void *object, po_heap *heap)
{
    struct po_header *header = po_header(object);
    const po_type *type = po_type_at(header->info);
    header->count = ZOMBIE + 1; /* a link that is no zombie's */
    if (PM_UNLIKELY(type->finalize != NULL || (header->info & (PO_HAS_WEAK | PO_INTERNED)) != 0) &&
        !say_goodbye(object, heap, type))
        return;
    po_drop_references(object, type);
    po_bury(object, heap, type);
}

/* ---- All that follows from one ---- */

static void
release_if_zombie(void *object, po_type *type, void *context)
{
    struct po_header *header = po_header(object);
    (void)type;
    if ((header->info & PO_DYING) && header->count == ZOMBIE)
        release_one(object, context);
}

/* What is next on the stack is no longer marked as dying; NULL: nothing. */
PM_INLINE void *
pop_dying(po_heap *heap)
{
    void *object;
    if (PM_LIKELY(heap->dying != NULL)) {
        object = pop_small(&heap->dying);
    } else if ((object = heap->dying_large) != NULL) {
        heap->dying_large = po_large_of(object)->next_dying;
        po_large_of(object)->next_dying = NULL;
    } else {
        return NULL;
    }
    po_write_info(po_header(object), po_header(object)->info & ~(uint32_t)PO_DYING);
    return object;
}

static void
run_stack(po_heap *heap)
{
    void *object;
    while ((object = pop_dying(heap)) != NULL) {
        po_write_info(po_header(object), po_header(object)->info | PO_DYING);
        release_one(object, heap);
    }
}

static PM_NOINLINE void
release_zombies(po_heap *heap)
{
    while (heap->zombies) {
        heap->zombies = false;
        /* What dies meanwhile waits on the stack, or as a zombie for the next walk; no pool goes away. */
        bool collecting = heap->collecting;
        heap->collecting = true;
        po_walk(heap, PO_WALK_ALL, release_if_zombie, heap);
        heap->collecting = collecting;
        run_stack(heap);
    }
}

static PM_NOINLINE void
push_dying(po_heap *heap, void *object)
{
    struct po_dying dying = {heap->dying, heap->dying_large};
    if (PM_UNLIKELY(!po_dying_push(&dying, object))) {
        po_header(object)->count = ZOMBIE;
        heap->zombies = true;
    }
    heap->dying = dying.small;
    heap->dying_large = dying.large;
}

/* The magazine of an object whose death needs nothing but its table; NULL for others. */
PM_INLINE struct po_magazine *
quick_magazine(uint32_t info, const po_type *type)
{
    return PM_LIKELY((info & PO_PECULIAR) == 0) ? type->quick : NULL;
}

PM_INLINE void
free_quickly(po_heap *heap, struct po_magazine *magazine, void *object)
{
    po_header(object)->count = 0;
    po_store_free(heap, magazine, object);
}

PM_INLINE uint64_t
whole_header(const void *object)
{
    uint64_t word;
    memcpy(&word, po_header(object), sizeof word);
    return word;
}

/* Onto the release stack. */
PM_INLINE void
push_quickly(po_heap *heap, void *object, uint64_t word)
{
    void *next = heap->dying;
    uintptr_t distance = (uintptr_t)next - po_base;
    if (PM_UNLIKELY(next == NULL || (uintptr_t)object - po_base >= (uintptr_t)po_link_limit << 4)) {
        push_dying(heap, object);
        return;
    }
    uint64_t info = word >> 32 | PO_DYING | (distance >> 3 & 1);
    word = info << 32 | PO_IMMORTAL_COUNT | (uint32_t)(distance >> 4);
    memcpy(po_header(object), &word, sizeof word);
    heap->dying = object;
}

/* A reference of a quick object that dies, to an object of another type, or one that needs more than its table, or
 * whose count is not plain. */
static PM_NOINLINE void
drop_other(po_heap *heap, void *object, uint64_t word)
{
    const po_type *type = po_type_at((uint32_t)(word >> 32));
    struct po_magazine *magazine = quick_magazine((uint32_t)(word >> 32), type);
    if ((uint32_t)word == 1 && magazine != NULL && type->heap == heap && type->reference_count == 0) {
        if (type->tracked)
            forget_young(heap, object);
        free_quickly(heap, magazine, object);
    } else {
        po_decref_slow(object);
    }
}

/* A quick object dies, and those of its type that die of it, and so on: of several, one is next, the others wait. No
 * code of the program runs here, so the slots need not be cleared. */
static void
release_quickly(po_heap *heap, const po_type *type, struct po_magazine *magazine, void *object)
{
    const uint16_t *offsets = type->references, *end = offsets + type->reference_count;
    uint64_t same = whole_header(object);
    uint32_t freed = 0;
    while (object != NULL) {
        void *next = NULL;
        for (const uint16_t *offset = offsets; offset != end; offset++) {
            void *referent = *(void **)((char *)object + *offset);
            if (referent == NULL)
                continue;
            uint64_t word = whole_header(referent);
            if ((int32_t)word > 1) {
                po_header(referent)->count = (uint32_t)word - 1;
            } else if (PM_LIKELY(word == same)) {
                if (next != NULL)
                    push_quickly(heap, next, word);
                next = referent;
            } else {
                drop_other(heap, referent, word);
            }
        }
        free_quickly(heap, magazine, object);
        freed++;
        object = next;
    }
    if (type->tracked)
        heap->young_count = heap->young_count > freed ? heap->young_count - freed : 0;
}

void
po_release(void *object, po_heap *heap)
{
    if (heap->releasing) {
        push_dying(heap, object);
        return;
    }
    heap->releasing = true;
    do {
        struct po_header *header = po_header(object);
        const po_type *type = po_type_at(header->info);
        struct po_magazine *magazine = quick_magazine(header->info, type);
        if (PM_LIKELY(magazine != NULL)) {
            header->count = 1;
            release_quickly(heap, type, magazine, object);
        } else {
            po_write_info(header, header->info | PO_DYING);
            release_one(object, heap);
        }
        object = pop_dying(heap);
    } while (object != NULL);
    if (PM_UNLIKELY(heap->zombies))
        release_zombies(heap);
    heap->releasing = false;
}

/* ---- Counts that are not plain ---- */

static _Noreturn void
fault_released(const struct po_header *header)
{
    if (header->info == 0)
        po_fault_call("po_decref", "no object is there: released more often than referenced");
    po_fault("po_decref: an object of type %s was released more often than referenced", po_type_at(header->info), NULL);
}

PM_SLOW static void
decref_odd(void *object, struct po_header *header, uint32_t count)
{
    if (header->info & PO_DYING || count == 0)
        fault_released(header);
    if (count >= PO_SHARED_COUNT) {
        if (__atomic_fetch_sub(&header->count, 1, __ATOMIC_RELEASE) <= (PO_SHARED_COUNT | 1))
            po_shared_release(object);
        return;
    }
    if (count < PO_WATCHED_COUNT)
        return; /* immortal */
    po_heap *heap = po_type_at(header->info)->heap;
    po_check_use(heap, "po_decref");
    if (--header->count == PO_WATCHED_COUNT)
        po_release(object, heap);
}

PM_INLINE bool
has_no_references(const void *object, const po_type *type)
{
    for (uint32_t i = 0; i < type->reference_count; i++)
        if (*(void *const *)((const char *)object + type->references[i]) != NULL)
            return false;
    return true;
}

void
po_decref_slow(void *object)
{
    struct po_header *header = po_header(object);
    uint32_t count = PO_READ_COUNT(&header->count);
    uint32_t info = po_read_info(header);
    if (PM_UNLIKELY(count != 1)) {
        if (count > 1 && (int32_t)count > 0) { /* called without the inline function */
            header->count = count - 1;
            return;
        }
        decref_odd(object, header, count);
        return;
    }
    const po_type *type = po_type_at(info);
    struct po_magazine *magazine = quick_magazine(info, type);
    if (PM_LIKELY(magazine != NULL && has_no_references(object, type))) {
        if (type->tracked)
            forget_young(type->heap, object);
        free_quickly(type->heap, magazine, object);
    } else if (PM_LIKELY(info != 0)) {
        if (magazine != NULL && type->tracked && !type->heap->releasing)
            forget_last(type->heap, object);
        po_release(object, type->heap);
    } else {
        fault_released(header);
    }
}

void
po_incref_slow(void *object)
{
    struct po_header *header = po_header(object);
    uint32_t count = PO_READ_COUNT(&header->count);
    if ((int32_t)count >= 0) {
        header->count = count + 1;
        return;
    }
    if (header->info & PO_DYING)
        po_fault("po_incref: an object of type %s is being destroyed", po_type_at(header->info), NULL);
    if (count >= PO_SHARED_MAX) {
        /* Others may count at the same time: there is room for them before the bits overflow. */
        __atomic_store_n(&header->count, PO_IMMORTAL_COUNT, __ATOMIC_RELAXED);
    } else if (count >= PO_SHARED_COUNT) {
        __atomic_fetch_add(&header->count, 1, __ATOMIC_RELAXED);
    } else if (count >= PO_WATCHED_COUNT) {
        po_check_use(po_type_at(header->info)->heap, "po_incref");
        header->count = count + 1 == PO_SHARED_COUNT ? PO_IMMORTAL_COUNT : count + 1;
    }
}

/* The symbols of the inline functions, for callers that do not inline them. */
#ifndef PO_NO_INLINE
extern inline void *po_incref(void *object);
extern inline void po_decref(void *object);
#endif
