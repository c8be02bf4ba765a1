/* SPDX-License-Identifier: MIT
 *
 * Which objects of a subset are unreachable from outside it: the trial on a side table. Each reference from one
 * member to another is subtracted from the other's count; what has references left is reached from outside, and so is
 * what it reaches. This is sound for any subset at any moment, because what is not in the subset counts as outside.
 *
 * The side table has a byte for each granule of the pools that members lie in: 0 is no member, or one that was
 * reached; else 1 + the references found. When a byte overflows, 255 move to a small table of carries. Large objects
 * have 4 bytes. Between two trials all cells are 0.
 *
 * Layer 3 of src/object: uses store.h.
 */
#include <string.h>

#include "../geometry.h"
#include "carry.h"
#include "store.h"

#define KEEP_BYTES ((size_t)1 << 17) /* of cells, which a heap keeps for its next trial */
#define CARRY 255u
#define SPARE_ARENAS 4u
#define PLACE_LARGE UINT32_C(0x80000000)

struct po_sides {
    uint32_t *side_of; /* by pool (slot * 64 + page): its cells' number, 0: none */
    size_t pools;
    uint8_t *cells;    /* 256 for each number; those of number 0 are never used */
    size_t cell_bytes;
    uint32_t *used;    /* pools with cells */
    uint32_t used_count;
    size_t used_bytes;
    uint32_t *large;
    size_t large_bytes;
    uint32_t *places;  /* of each member: its cell's number, or PLACE_LARGE and its number as a large object */
    size_t place_bytes;
    struct po_carries carries;
    struct po_array reached;
};

/* ---- Memory ---- */

static bool
resize(void *pointer, size_t *bytes, size_t wanted)
{
    void **memory = pointer;
    if (wanted <= *bytes)
        return true;
    wanted = pm_round_up(wanted + wanted / 4, 4096);
    void *fresh = po_map(wanted);
    if (fresh == NULL)
        return false;
    if (*memory != NULL) {
        memcpy(fresh, *memory, *bytes);
        po_unmap(*memory, *bytes);
    }
    *memory = fresh;
    *bytes = wanted;
    return true;
}

static bool
prepare(po_heap *heap, const struct po_array *members)
{
    if (heap->sides == NULL && (heap->sides = po_map(sizeof *heap->sides)) == NULL)
        return false;
    struct po_sides *sides = heap->sides;
    /* Some more: what a finalizer allocates shall not make the trial after it fail. */
    size_t pools = ((size_t)heap->arena_count + SPARE_ARENAS) * PM_ARENA_POOLS, bytes = sides->pools * sizeof(uint32_t);
    if (!resize(&sides->side_of, &bytes, pools * sizeof(uint32_t)))
        return false;
    sides->pools = bytes / sizeof(uint32_t);
    size_t most = members->count < pools ? members->count : pools;
    if (!resize(&sides->cells, &sides->cell_bytes, (most + 1) * PO_GRANULES) ||
        !resize(&sides->used, &sides->used_bytes, (most + 1) * sizeof(uint32_t)) ||
        !resize(&sides->large, &sides->large_bytes, heap->large_count * sizeof(uint32_t)) ||
        !resize(&sides->places, &sides->place_bytes, members->count * sizeof(uint32_t)) ||
        !po_array_reserve(&sides->reached, members->count))
        return false;
    sides->used_count = 0;
    sides->reached.count = 0;
    return true;
}

bool
po_subset_reserve(po_heap *heap, const struct po_array *members)
{
    return prepare(heap, members);
}

void
po_subset_end(po_heap *heap)
{
    struct po_sides *sides = heap->sides;
    if (sides == NULL)
        return;
    po_unmap(sides->side_of, sides->pools * sizeof(uint32_t));
    po_unmap(sides->cells, sides->cell_bytes);
    po_unmap(sides->used, sides->used_bytes);
    po_unmap(sides->large, sides->large_bytes);
    po_unmap(sides->places, sides->place_bytes);
    po_carry_free(&sides->carries);
    po_array_free(&sides->reached);
    po_unmap(sides, sizeof *sides);
    heap->sides = NULL;
}

size_t
po_subset_bytes(const po_heap *heap)
{
    const struct po_sides *sides = heap->sides;
    if (sides == NULL)
        return 0;
    return sides->pools * sizeof(uint32_t) + sides->cell_bytes + sides->used_bytes + sides->large_bytes +
           sides->place_bytes + sides->reached.capacity * sizeof(void *);
}

/* All cells are 0 again; what a large trial needed is given back. */
static void
finish(po_heap *heap)
{
    struct po_sides *sides = heap->sides;
    for (uint32_t i = 0; i < sides->used_count; i++)
        sides->side_of[sides->used[i]] = 0;
    po_carry_reset(&sides->carries);
    if (sides->cell_bytes > KEEP_BYTES || sides->reached.capacity * sizeof(void *) > KEEP_BYTES)
        po_subset_end(heap);
}

/* ---- Cells ---- */

PM_INLINE uint8_t *
cell_in(const struct po_sides *sides, uint32_t slot, const void *object)
{
    uint32_t side = sides->side_of[(size_t)slot * PM_ARENA_POOLS + po_page_of(object)];
    return &sides->cells[(size_t)side * PO_GRANULES + ((uintptr_t)object >> 4) % PO_GRANULES];
}

/* The heap's own slot for an object in a pool; false: of another heap. */
PM_INLINE bool
find_slot(po_heap *heap, const struct po_place *place, const void *object, uint32_t *slot)
{
    *slot = place->slot;
    return PM_LIKELY(place->heap == heap) || po_guest_slot(heap, object, slot);
}

/* ---- Members ---- */

/* True when the object is a member now that was none. */
PM_INLINE bool
add_member(po_heap *heap, struct po_sides *sides, void *object, uint32_t *cell_place)
{
    uint32_t slot, info = po_read_info(po_header(object));
    if (info == 0 || (info & (PO_SHARED | PO_DYING | PO_UNTRACKED)) != 0)
        return false;
    const struct po_place *place = po_place_of(object);
    if (PM_UNLIKELY(place == NULL)) {
        struct po_large *large = po_large_of(object);
        if (large->frozen != 0 || sides->large[large->index] != 0)
            return false;
        sides->large[large->index] = 1;
        *cell_place = PLACE_LARGE | large->index;
        return true;
    }
    if (!find_slot(heap, place, object, &slot) || (heap->frozen != 0 && po_is_frozen(heap, slot, object)))
        return false;
    size_t pool = (size_t)slot * PM_ARENA_POOLS + po_page_of(object);
    uint32_t side = sides->side_of[pool];
    if (PM_UNLIKELY(side == 0)) {
        sides->used[sides->used_count++] = (uint32_t)pool;
        side = sides->side_of[pool] = sides->used_count;
    }
    *cell_place = side * PO_GRANULES + ((uintptr_t)object >> 4) % PO_GRANULES;
    if (sides->cells[*cell_place] != 0)
        return false;
    sides->cells[*cell_place] = 1;
    return true;
}

static bool
is_left_out(po_heap *heap, const void *object)
{
    uint32_t slot;
    if (po_has_flag(object, PO_SHARED))
        return true;
    if (heap->frozen == 0)
        return false;
    const struct po_place *place = po_place_of(object);
    if (place == NULL)
        return po_large_of(object)->frozen != 0;
    return find_slot(heap, place, object, &slot) && po_is_frozen(heap, slot, object);
}

size_t
po_subset_members(po_heap *heap, struct po_array *objects)
{
    size_t front = 0;
    for (size_t i = 0; i < objects->count; i++) {
        void *object = objects->items[i];
        if (is_left_out(heap, object))
            continue;
        objects->items[i] = objects->items[front];
        objects->items[front++] = object;
    }
    return front;
}

static void
add_members(po_heap *heap, struct po_array *members)
{
    struct po_sides *sides = heap->sides;
    size_t kept = 0;
    for (size_t i = 0; i < members->count; i++) {
        void *object = members->items[i];
        members->items[kept] = object;
        kept += add_member(heap, sides, object, &sides->places[kept]);
    }
    members->count = kept;
}

/* ---- The trial ---- */

PM_NOINLINE void
po_check_foreign(const po_heap *heap, const void *object)
{
    uint32_t info = po_read_info(po_header(object));
    const po_type *type = po_type_at(info);
    if (info >> PO_NUMBER_SHIFT == 0)
        po_fault("a reference to an object that was released: its count was less than the references to it", NULL,
                 NULL);
    if (type->heap != heap && !(info & PO_SHARED) && po_count_of(po_header(object)) != UINT32_MAX)
        po_fault("an object of type %s is referred to by an object of another heap", type, NULL);
}

PM_INLINE void
count_reference(void *referent, void *context)
{
    po_heap *heap = context;
    struct po_sides *sides = heap->sides;
    uint32_t slot;
    if (referent == NULL)
        return;
    const struct po_place *place = po_place_of(referent);
    if (PM_UNLIKELY(place == NULL)) {
        if (po_type_in(referent)->heap != heap)
            po_check_foreign(heap, referent);
        else if (sides->large[po_large_of(referent)->index] != 0)
            sides->large[po_large_of(referent)->index]++;
        return;
    }
    if (PM_UNLIKELY(!find_slot(heap, place, referent, &slot))) {
        po_check_foreign(heap, referent);
        return;
    }
    uint8_t *cell = cell_in(sides, slot, referent);
    if (*cell != 0 && ++*cell == 0) {
        *cell = 1;
        po_carry_add(&sides->carries, referent, CARRY);
    }
}

/* Makes a member one that was reached. */
PM_INLINE void
reach(void *referent, void *context)
{
    po_heap *heap = context;
    struct po_sides *sides = heap->sides;
    uint32_t slot;
    if (referent == NULL)
        return;
    const struct po_place *place = po_place_of(referent);
    if (PM_UNLIKELY(place == NULL)) {
        if (po_type_in(referent)->heap != heap || sides->large[po_large_of(referent)->index] == 0)
            return;
        sides->large[po_large_of(referent)->index] = 0;
    } else {
        if (PM_UNLIKELY(!find_slot(heap, place, referent, &slot)))
            return;
        uint8_t *cell = cell_in(sides, slot, referent);
        if (*cell == 0)
            return;
        *cell = 0;
    }
    sides->reached.items[sides->reached.count++] = referent;
}

/* How many references of members to a member were found, plus 1; 0: it was reached. */
PM_INLINE uint32_t
read_cell(const struct po_sides *sides, uint32_t place)
{
    return PM_LIKELY(!(place & PLACE_LARGE)) ? sides->cells[place] : sides->large[place & ~PLACE_LARGE];
}

PM_INLINE void
clear_cell(struct po_sides *sides, uint32_t place)
{
    if (PM_LIKELY(!(place & PLACE_LARGE)))
        sides->cells[place] = 0;
    else
        sides->large[place & ~PLACE_LARGE] = 0;
}

static void
reach_from_outside(po_heap *heap, const struct po_array *members, uint32_t held)
{
    struct po_sides *sides = heap->sides;
    for (size_t i = 0; i < members->count; i++) {
        void *object = members->items[i];
        uint32_t count = po_count_of(po_header(object));
        uint64_t found = read_cell(sides, sides->places[i]) - 1 + held + po_carry_find(&sides->carries, object);
        if (found >= count && PM_LIKELY(count != UINT32_MAX)) {
            if (PM_UNLIKELY(found > count))
                po_fault_count(heap, object);
            continue;
        }
        clear_cell(sides, sides->places[i]);
        sides->reached.items[sides->reached.count++] = object;
    }
}

static void
propagate(po_heap *heap)
{
    struct po_array *reached = &heap->sides->reached;
    for (size_t i = 0; i < reached->count; i++)
        po_visit(reached->items[i], po_type_in(reached->items[i]), reach, heap);
}

/* The members that were not reached go to the array's end, with their cells 0 again. */
static void
partition(po_heap *heap, struct po_array *members)
{
    struct po_sides *sides = heap->sides;
    struct po_array *reached = &sides->reached;
    if (PM_LIKELY(reached->count == members->count))
        return; /* in whatever order */
    size_t rest = 0, front = reached->count;
    for (size_t i = 0; i < members->count; i++)
        if (read_cell(sides, sides->places[i]) != 0) {
            clear_cell(sides, sides->places[i]);
            members->items[rest++] = members->items[i];
        }
    memmove(members->items + front, members->items, rest * sizeof(void *));
    memcpy(members->items, reached->items, front * sizeof(void *));
}

static void
clear_cells(po_heap *heap, const struct po_array *members)
{
    for (size_t i = 0; i < members->count; i++)
        clear_cell(heap->sides, heap->sides->places[i]);
}

bool
po_subset_split(po_heap *heap, struct po_array *members, uint32_t held, size_t *reachable)
{
    *reachable = 0;
    if (members->count == 0)
        return true;
    if (!prepare(heap, members))
        return false;
    add_members(heap, members);
    for (size_t i = 0; i < members->count; i++)
        po_visit(members->items[i], po_type_in(members->items[i]), count_reference, heap);
    bool counted = !heap->sides->carries.failed;
    if (counted) {
        reach_from_outside(heap, members, held);
        propagate(heap);
        *reachable = heap->sides->reached.count;
        partition(heap, members);
    } else {
        clear_cells(heap, members);
    }
    finish(heap);
    return counted;
}
