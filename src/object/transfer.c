/* SPDX-License-Identifier: MIT
 *
 * A graph changes its heap, and no object its address. Large objects move from table to table. Small ones stay in the
 * arenas of the old heap, as guests: the new heap has a slot for such an arena, and looks at the pools they lie in.
 * From then on that arena is mixed: its pools keep their geometry, and it lives as long as one of its heaps does. A
 * guest that dies returns to the arena's heap as a block of another thread would. Everything that needs memory is
 * done before the first object changes.
 */
#include <errno.h>
#include <string.h>

#include "../geometry.h"
#include "../lock.h"
#include "carry.h"
#include "reach.h"
#include "release.h"
#include "store.h"

/* ---- Slots for the arenas of others ---- */

static uintptr_t
number_of(const void *object)
{
    return ((uintptr_t)object - po_base) >> PM_ARENA_SHIFT;
}

/* The pair of an arena in the map, or the free one where it belongs. */
static void **
find_pair(const struct po_array *map, uintptr_t number)
{
    size_t mask = map->capacity / 2 - 1, at = number * UINT64_C(0x9E3779B97F4A7C15) >> 32 & mask;
    while (map->items[2 * at] != NULL && map->items[2 * at] != (void *)(number + 1))
        at = (at + 1) & mask;
    return &map->items[2 * at];
}

bool
po_guest_slot_slow(const po_heap *heap, const void *object, uint32_t *slot)
{
    const struct po_place *place = po_place_of(object);
    if (place == NULL)
        return false;
    if (place->heap == heap) {
        *slot = place->slot;
        return true;
    }
    void **pair = find_pair(&heap->guests->map, number_of(object));
    *slot = (uint32_t)(uintptr_t)pair[1];
    return pair[0] != NULL && po_type_in(object)->heap == heap;
}

static bool
grow_map(struct po_array *map, size_t count)
{
    if (map->capacity >= 4 * (count + 1))
        return true;
    size_t capacity = map->capacity != 0 ? 2 * map->capacity : 512;
    struct po_array grown = {.items = po_map(capacity * sizeof(void *)), .capacity = capacity};
    if (grown.items == NULL)
        return false;
    for (size_t i = 0; i < map->capacity; i += 2)
        if (map->items[i] != NULL)
            memcpy(find_pair(&grown, (uintptr_t)map->items[i] - 1), &map->items[i], 2 * sizeof(void *));
    po_unmap(map->items, map->capacity * sizeof(void *));
    *map = grown;
    return true;
}

static bool
grow_pools(po_heap *heap)
{
    struct po_guests *guests = heap->guests;
    if (guests->slots >= heap->arena_capacity)
        return true;
    uint64_t *pools = po_map(heap->arena_capacity * sizeof *pools);
    if (pools == NULL)
        return false;
    if (guests->slots != 0)
        memcpy(pools, guests->pools, guests->slots * sizeof *pools);
    po_unmap(guests->pools, guests->slots * sizeof *pools);
    guests->pools = pools;
    guests->slots = heap->arena_capacity;
    return true;
}

/* A slot of the heap for the arena of this object; its own arenas have one. */
static bool
reserve_slot(po_heap *heap, const void *object)
{
    struct po_arena *arena = po_arena_at(object);
    uint32_t slot;
    if (arena->heap == heap)
        return true;
    if (heap->guests == NULL && (heap->guests = po_map(sizeof *heap->guests)) == NULL)
        return false;
    struct po_array *map = &heap->guests->map;
    if (!grow_map(map, heap->guest_arenas) || !grow_pools(heap))
        return false;
    void **pair = find_pair(map, number_of(object));
    if (pair[0] != NULL)
        return true;
    if (!po_store_find_slot(heap, &slot))
        return false;
    if (!grow_pools(heap))
        return false;
    pair[0] = (void *)(number_of(object) + 1);
    pair[1] = (void *)(uintptr_t)slot;
    heap->arenas[slot] = arena;
    heap->guests->pools[slot] = 0;
    heap->guest_arenas++;
    po_types_set_quick(heap);
    pm_lock_acquire(&po_mixed_lock);
    arena->mixed = true;
    arena->guests++;
    pm_lock_release(&po_mixed_lock);
    return true;
}

void
po_store_free_guest(po_heap *heap, void *object)
{
    (void)heap;
    __atomic_store_n(&po_header(object)->info, 0, __ATOMIC_RELEASE);
    pm_lock_acquire(&po_mixed_lock);
    po_heap *owner = po_arena_at(object)->heap;
    if (owner != NULL)
        po_store_free_remote(owner, object, false);
    pm_lock_release(&po_mixed_lock);
}

/* ---- Types ---- */

static bool
is_same_type(const po_type *a, const po_type *b)
{
    return strcmp(a->name, b->name) == 0 && a->size == b->size && a->item_size == b->item_size &&
           a->flags == b->flags && a->shape == b->shape && a->traverse == b->traverse &&
           a->clear == b->clear && a->finalize == b->finalize &&
           a->destroy == b->destroy && a->reference_count == b->reference_count &&
           memcmp(a->references, b->references, a->reference_count * sizeof *a->references) == 0;
}

/* The heap's type that is equal to this one, made if need be. NULL: no memory. */
static po_type *
type_in_heap(const po_type *type, po_heap *heap)
{
    for (po_type *other = heap->types; other != NULL; other = other->next)
        if (is_same_type(type, other))
            return other;
    uint16_t *offsets = po_map((type->reference_count + 1) * sizeof *offsets);
    if (offsets == NULL)
        return NULL;
    memcpy(offsets, type->references, type->reference_count * sizeof *offsets);
    offsets[type->reference_count] = PO_END;
    const struct po_type_spec spec = {type->name, type->size, type->item_size, offsets,
                                      (type->shape & PO_HAS_ITEMS) != 0, type->flags, type->traverse, type->clear,
                                      type->finalize, type->destroy};
    po_type *made = po_type_make(heap, &spec);
    po_unmap(offsets, (type->reference_count + 1) * sizeof *offsets);
    if (made != NULL && type == type->heap->string_type)
        heap->string_type = made;
    if (made != NULL && type == type->heap->int_type)
        heap->int_type = made;
    return made;
}

/* ---- The transfer ---- */

/* The graph is isolated, and may be moved. */
static bool
may_move(po_heap *from, const struct po_reach *reach)
{
    for (size_t i = 0; i < reach->objects.count; i++) {
        const void *object = reach->objects.items[i];
        uint64_t within = po_carry_entry(&reach->counts, object)->count;
        if (po_heap_of(object) != from || po_has_flag(object, PO_HAS_WEAK | PO_DYING) ||
            po_count_of(po_header(object)) != within + (i == 0))
            return false;
    }
    return true;
}

/* Everything that takes memory. The numbers of large objects in the new heap's table are kept in their links. */
static bool
reserve(po_heap *to, const struct po_reach *reach)
{
    for (size_t i = 0; i < reach->objects.count; i++) {
        void *object = reach->objects.items[i];
        uint32_t index;
        if (type_in_heap(po_type_in(object), to) == NULL)
            return false;
        if (!po_has_flag(object, PO_LARGE)) {
            if (!reserve_slot(to, object))
                return false;
        } else if (po_store_find_large(to, &index)) {
            to->large[index] = (struct po_large *)1;
            po_large_of(object)->next_dying = (void *)((uintptr_t)index + 1);
        } else {
            return false;
        }
    }
    return true;
}

static void
release_reserved(po_heap *to, const struct po_reach *reach)
{
    for (size_t i = 0; i < reach->objects.count; i++) {
        void *object = reach->objects.items[i];
        if (!po_has_flag(object, PO_LARGE) || po_large_of(object)->next_dying == NULL)
            continue;
        po_store_forget_large(to, (uint32_t)((uintptr_t)po_large_of(object)->next_dying - 1));
        po_large_of(object)->next_dying = NULL;
    }
}

static void
move_large(po_heap *from, po_heap *to, void *object, size_t bytes)
{
    struct po_large *large = po_large_of(object);
    uint32_t index = (uint32_t)((uintptr_t)large->next_dying - 1);
    po_store_forget_large(from, large->index);
    from->large_alive--;
    from->large_bytes -= bytes;
    large->index = index;
    large->next_dying = NULL;
    to->large[index] = large;
    to->large_alive++;
    to->large_bytes += bytes;
}

static void
move_one(po_heap *from, po_heap *to, void *object)
{
    struct po_header *header = po_header(object);
    size_t bytes = po_store_bytes(object);
    const po_type *type = type_in_heap(po_type_at(header->info), to);
    po_thaw(from, object);
    if (header->info & PO_INTERNED)
        po_string_forget(from, object);
    if (header->info & PO_LARGE) {
        move_large(from, to, object, bytes);
    } else if (po_arena_at(object)->heap != to) {
        uint32_t slot = (uint32_t)(uintptr_t)find_pair(&to->guests->map, number_of(object))[1];
        to->guests->pools[slot] |= UINT64_C(1) << po_page_of(object);
    }
    from->used_bytes -= bytes < from->used_bytes ? bytes : from->used_bytes;
    to->used_bytes += bytes;
    to->old_pending += type->tracked;
    uint32_t count = po_count_of(header);
    header->count = to->watched != 0 ? PO_WATCHED_COUNT | count : count;
    __atomic_store_n(&header->info, type->number << PO_NUMBER_SHIFT | (header->info & PO_FLAG_MASK), __ATOMIC_RELAXED);
}

bool
po_transfer(void *object, po_heap *to)
{
    struct po_reach reach = {0};
    if (object == NULL || to == NULL || po_has_flag(object, PO_SHARED) || po_is_immortal(object)) {
        errno = EINVAL;
        return false;
    }
    po_heap *from = po_heap_of(object);
    po_check_heap(from, "po_transfer");
    po_check_heap(to, "po_transfer");
    if (from == to)
        return true;
    po_store_drain(from);
    int error = !po_reach(&reach, object) ? ENOMEM : !may_move(from, &reach) ? EINVAL : 0;
    if (error == 0 && !reserve(to, &reach)) {
        release_reserved(to, &reach);
        error = ENOMEM;
    }
    if (error == 0) {
        po_old_end(from);
        po_old_end(to);
        for (size_t i = 0; i < reach.objects.count; i++)
            move_one(from, to, reach.objects.items[i]);
        po_young_remove_foreign(from);
    }
    po_reach_free(&reach);
    if (error != 0)
        errno = error;
    return error == 0;
}

/* ---- The end of a heap ---- */

static void
free_guest(void *object, po_type *type, void *context)
{
    (void)type;
    po_store_free_guest(context, object);
}

/* In its own arena, which others still look at: no object any more. */
static void
forget_object(void *object, po_type *type, void *context)
{
    (void)type, (void)context;
    __atomic_store_n(&po_header(object)->info, 0, __ATOMIC_RELEASE);
}

static void
leave_arena(po_heap *heap, const struct po_arena *arena, uint32_t slot)
{
    bool own = arena->heap == heap;
    uint64_t pools = own ? po_arena_pools(arena) : heap->guests->pools[slot];
    for (; pools != 0; pools &= pools - 1)
        po_walk_pool(heap, arena, (unsigned)__builtin_ctzll(pools), own ? forget_object : free_guest, heap);
}

bool
po_guests_destroy(po_heap *heap)
{
    struct po_guests *guests = heap->guests;
    bool any = false;
    for (uint32_t slot = 0; slot < heap->arena_count; slot++)
        if (heap->arenas[slot] != NULL && heap->arenas[slot]->mixed) {
            leave_arena(heap, heap->arenas[slot], slot);
            any = true;
        }
    if (guests != NULL) {
        po_unmap(guests->pools, guests->slots * sizeof *guests->pools);
        po_unmap(guests->map.items, guests->map.capacity * sizeof(void *));
        po_unmap(guests, sizeof *guests);
        heap->guests = NULL;
    }
    return any;
}
