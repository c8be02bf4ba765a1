/* SPDX-License-Identifier: MIT
 *
 * The trial over all tracked objects, on dense tables: for each granule of the heap a byte that counts references, a
 * bit "reached", and a bit "reached, its references not yet followed"; 1.9 bytes for an object of 24. Objects are
 * only read.
 *
 *   COUNT   each pool in turn: each reference found is counted in the referent's cell
 *   REACH   each pool in turn: what has more references than were found is reached; what is reached is followed. A
 *           referent in a pool whose turn is over puts that pool on a queue. So objects are followed pool by pool, in
 *           the order of their addresses, however the references go.
 *   QUEUE   the pools of the queue, until it is empty. What was not reached is garbage.
 *   FLAG    in steps only: each pool in turn that has some. If it is much, the program may have moved references
 *   behind
 *           the steps' back: COUNT and REACH are run again on that alone, up to twice, before it is called garbage.
 *
 * In one go that is exact. In steps, with the program running in between, it is a guess: the garbage it names is a
 * subset like any other, which subset.c then tries in one go. Whatever has changed meanwhile, pools and arenas that
 * came or went included, makes the guess worse, never wrong; so each step looks at pools as they are now.
 *
 * Large objects have a cell of 4 bytes and two bits in a byte each.
 */
#include <limits.h>
#include <string.h>

#include "../geometry.h"
#include "carry.h"
#include "store.h"

#define CARRY 256u
#define BATCH 64u
#define REFINE_FROM 4096u
#define REFINE_ROUNDS 2u
#define SLOTS_MAX (UINT32_C(1) << (32 - PO_SLOT_SHIFT)) /* granules have 32 bits: 64 GiB */
#define CHECK_WORK 1024u /* objects between two looks at the clock */

enum phase { COUNT, REACH, QUEUE, FLAG, DONE };
enum { LARGE_REACHED = 1, LARGE_PENDING = 2 };

struct po_old {
    po_heap *heap;
    bool exact;          /* in one go */
    enum phase phase;
    uint32_t slots;      /* arenas from here on are outside */
    uint32_t large_count;
    size_t pool, pools;  /* the next one in turn; slots * 64 */
    uint32_t large;      /* the next large object */

    uintptr_t first;     /* the heap's lowest arena */
    size_t arenas;       /* from there to its highest */

    uint8_t *cells;      /* one piece of memory from here */
    uint32_t *slot_of;   /* by arena, from the lowest: slot + 1; 0: not the heap's own, or acyclic */
    uint64_t *reached, *pending;
    uint32_t *queue;     /* a ring: a pool is on it once at most */
    uint32_t *large_cells;
    uint32_t *large_queue;
    uint16_t *alive;     /* objects in the pool, when they were counted */
    uint8_t *queued;
    uint8_t *flagged;    /* the pool has objects that were not reached */
    uint8_t *large_marks;
    size_t bytes;

    /* Granules whose cells or bits are on their way to the cache: at random each would be waited for. */
    uint32_t batch_count;
    uint32_t batch[BATCH];

    size_t queue_head, queue_count, large_queue_count;
    size_t visited;
    size_t unreached;    /* in flagged pools */
    unsigned rounds;     /* of refining: COUNT and REACH again, of what was not reached alone */
    struct po_carries carries;
};

/* ---- Begin and end ---- */

static size_t
lay_out(struct po_old *old, char *memory)
{
    size_t at = pm_round_up(sizeof *old, PM_CACHE_LINE), granules = (size_t)old->slots << PO_SLOT_SHIFT;
    size_t larges = old->large_count;
    struct {
        void *field;
        size_t bytes;
    } parts[] = {
        {&old->cells, granules},
        {&old->reached, granules / 8},
        {&old->pending, granules / 8},
        {&old->slot_of, old->arenas * sizeof(uint32_t)},
        {&old->queue, old->pools * sizeof(uint32_t)},
        {&old->large_cells, larges * sizeof(uint32_t)},
        {&old->large_queue, larges * sizeof(uint32_t)},
        {&old->alive, old->pools * sizeof(uint16_t)},
        {&old->queued, old->pools},
        {&old->flagged, old->pools},
        {&old->large_marks, larges},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char *address = memory + at;
        if (memory != NULL)
            memcpy(parts[i].field, &address, sizeof address);
        at += pm_round_up(parts[i].bytes, PM_CACHE_LINE);
    }
    return at;
}

/* From the lowest to the highest arena with tracked objects. */
static void
find_range(const po_heap *heap, struct po_old *old)
{
    uintptr_t first = UINTPTR_MAX, last = 0;
    for (uint32_t slot = 0; slot < old->slots; slot++) {
        uintptr_t arena = (uintptr_t)heap->arenas[slot];
        if (arena == 0 || heap->arenas[slot]->acyclic)
            continue;
        first = arena < first ? arena : first;
        last = arena > last ? arena : last;
    }
    old->first = last != 0 ? first : 0;
    old->arenas = last != 0 ? ((last - first) >> PM_ARENA_SHIFT) + 1 : 0;
}

static void
fill_slots(const po_heap *heap, struct po_old *old)
{
    for (uint32_t slot = 0; slot < old->slots; slot++) {
        const struct po_arena *arena = heap->arenas[slot];
        if (arena != NULL && arena->heap == heap && !arena->acyclic)
            old->slot_of[((uintptr_t)arena - old->first) >> PM_ARENA_SHIFT] = slot + 1;
    }
}

static struct po_old *
begin(po_heap *heap, bool exact)
{
    struct po_old plan = {
        .heap = heap,
        .exact = exact,
        .slots = heap->arena_count < SLOTS_MAX ? heap->arena_count : SLOTS_MAX,
        .large_count = heap->large_count,
    };
    plan.pools = (size_t)plan.slots * PM_ARENA_POOLS;
    find_range(heap, &plan);
    plan.bytes = lay_out(&plan, NULL);
    struct po_old *old = po_map_large(plan.bytes);
    if (old == NULL)
        return NULL;
    *old = plan;
    lay_out(old, (char *)old);
    fill_slots(heap, old);
    /* What is frozen counts as reached already, and is never followed. */
    uint32_t frozen = heap->frozen_slots < old->slots ? heap->frozen_slots : old->slots;
    if (heap->frozen != 0 && frozen != 0)
        memcpy(old->reached, heap->frozen_bits, (size_t)frozen << (PO_SLOT_SHIFT - 3));
    return old;
}

static void
end(struct po_old *old)
{
    po_carry_free(&old->carries);
    po_unmap(old, old->bytes);
}

bool
po_old_begin(po_heap *heap)
{
    heap->old = begin(heap, false);
    return heap->old != NULL;
}

void
po_old_end(po_heap *heap)
{
    if (heap->old != NULL)
        end(heap->old);
    heap->old = NULL;
}

size_t
po_old_bytes(const po_heap *heap)
{
    return heap->old != NULL ? heap->old->bytes : 0;
}

/* ---- Objects ---- */

PM_INLINE bool
get_bit(const uint64_t *bits, size_t index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

/* False: the object is outside. */
PM_INLINE bool
find_granule(const struct po_old *old, const struct po_place *place, const void *object, size_t *granule)
{
    uint32_t slot = place->slot;
    if (PM_UNLIKELY(place->heap != old->heap)) {
        if (!po_guest_slot(old->heap, object, &slot)) {
            if (old->exact)
                po_check_foreign(old->heap, object);
            return false;
        }
    } else if (place->acyclic) {
        return false;
    }
    *granule = po_granule_of(slot, object);
    return slot < old->slots;
}

/* The number of a large object of the heap that may be visited, or false. */
static bool
find_large(const struct po_old *old, const void *object, uint32_t *index)
{
    if (po_type_in(object)->heap != old->heap) {
        if (old->exact)
            po_check_foreign(old->heap, object);
        return false;
    }
    *index = po_large_of(object)->index;
    return *index < old->large_count && !po_has_flag(object, PO_UNTRACKED);
}

PM_INLINE bool
is_candidate(uint32_t info)
{
    return (info & (PO_SHARED | PO_DYING | PO_UNTRACKED)) == 0;
}

/* A large object that may be visited; NULL: none has this number, or it is frozen. */
static void *
large_at(const struct po_old *old, uint32_t index)
{
    struct po_large *large = index < old->heap->large_count ? old->heap->large[index] : NULL;
    if (large == NULL || ((uintptr_t)large & 1) != 0 || large->header.info == 0 || !is_candidate(large->header.info) ||
        large->frozen != 0)
        return NULL;
    return large + 1;
}

/* ---- COUNT ---- */

/* The granule of an object in an arena that was the heap's own at the beginning; SIZE_MAX: ask find_granule. */
PM_INLINE size_t
granule_of(const struct po_old *old, const void *object)
{
    size_t arena = ((uintptr_t)object - old->first) >> PM_ARENA_SHIFT;
    uint32_t slot = PM_LIKELY(arena < old->arenas) ? old->slot_of[arena] : 0;
    return PM_LIKELY(slot != 0) ? po_granule_of(slot - 1, object) : SIZE_MAX;
}

static PM_NOINLINE void
count_elsewhere(struct po_old *old, void *referent)
{
    size_t granule;
    uint32_t index;
    if (referent == NULL)
        return;
    const struct po_place *place = po_place_of(referent);
    if (PM_UNLIKELY(place == NULL)) {
        if (find_large(old, referent, &index))
            old->large_cells[index]++;
        return;
    }
    if (find_granule(old, place, referent, &granule) && PM_UNLIKELY(++old->cells[granule] == 0))
        po_carry_add(&old->carries, referent, CARRY);
}

static PM_NOINLINE void
carry_granule(struct po_old *old, size_t granule)
{
    const struct po_arena *arena = po_arena_in_slot(old->heap, (uint32_t)(granule >> PO_SLOT_SHIFT));
    if (arena != NULL)
        po_carry_add(&old->carries, po_object_at_granule(arena, granule % (1u << PO_SLOT_SHIFT)), CARRY);
}

static PM_NOINLINE void
count_batch(struct po_old *old)
{
    uint8_t *cells = old->cells;
    for (uint32_t i = 0; i < old->batch_count; i++)
        if (PM_UNLIKELY(++cells[old->batch[i]] == 0))
            carry_granule(old, old->batch[i]);
    old->batch_count = 0;
}

PM_INLINE void
count_reference(void *referent, void *context)
{
    struct po_old *old = context;
    size_t granule = granule_of(old, referent);
    if (PM_UNLIKELY(granule == SIZE_MAX)) {
        count_elsewhere(old, referent);
        return;
    }
    __builtin_prefetch(&old->cells[granule], 1);
    old->batch[old->batch_count++] = (uint32_t)granule;
    if (PM_UNLIKELY(old->batch_count == BATCH))
        count_batch(old);
}

PM_INLINE void
count_object(void *object, po_type *type, void *context)
{
    struct po_old *old = context;
    if (PM_UNLIKELY(!is_candidate(po_read_info(po_header(object)))))
        return;
    if (PM_UNLIKELY(old->heap->frozen != 0)) {
        const struct po_place *place = po_place_of(object);
        uint32_t slot = place->slot;
        if ((place->heap == old->heap || po_guest_slot(old->heap, object, &slot)) &&
            po_is_frozen(old->heap, slot, object))
            return;
    }
    old->visited++;
    po_visit(object, type, count_reference, old);
}

/* ---- REACH ---- */

/* While REACH lasts, pools whose turn is to come count as queued. */
static PM_NOINLINE void
queue_pool(struct po_old *old, size_t pool)
{
    old->queued[pool] = 1;
    size_t at = old->queue_head + old->queue_count++;
    old->queue[at < old->pools ? at : at - old->pools] = (uint32_t)pool;
}

static void
reach_large(struct po_old *old, uint32_t index)
{
    if (old->large_marks[index] & LARGE_REACHED)
        return;
    old->large_marks[index] = LARGE_REACHED;
    old->large_queue[old->large_queue_count++] = index;
}

/* Whether a bit is new cannot be foretold in a large graph, so it is no branch. */
PM_INLINE void
reach_granule(struct po_old *old, size_t granule)
{
    uint64_t before = old->reached[granule / 64], bit = UINT64_C(1) << (granule % 64), fresh = bit & ~before;
    old->reached[granule / 64] = before | bit;
    old->pending[granule / 64] |= fresh;
    if (PM_UNLIKELY(old->queued[granule / PO_GRANULES] == 0) && fresh != 0)
        queue_pool(old, granule / PO_GRANULES);
}

static PM_NOINLINE void
reach_elsewhere(struct po_old *old, void *referent)
{
    size_t granule;
    uint32_t index;
    if (referent == NULL)
        return;
    const struct po_place *place = po_place_of(referent);
    if (PM_UNLIKELY(place == NULL)) {
        if (find_large(old, referent, &index))
            reach_large(old, index);
    } else if (find_granule(old, place, referent, &granule)) {
        reach_granule(old, granule);
    }
}

static PM_NOINLINE void
reach_batch(struct po_old *old)
{
    for (uint32_t i = 0; i < old->batch_count; i++)
        reach_granule(old, old->batch[i]);
    old->batch_count = 0;
}

PM_INLINE void
reach(void *referent, void *context)
{
    struct po_old *old = context;
    size_t granule = granule_of(old, referent);
    if (PM_UNLIKELY(granule == SIZE_MAX)) {
        reach_elsewhere(old, referent);
        return;
    }
    __builtin_prefetch(&old->reached[granule / 64], 1);
    old->batch[old->batch_count++] = (uint32_t)granule;
    if (PM_UNLIKELY(old->batch_count == BATCH))
        reach_batch(old);
}

/* The object of a granule of this pool, as it is now; NULL: none that may be visited. */
static void *
object_at(const struct po_old *old, const struct po_arena *arena, const struct po_pool *pool, char *address)
{
    size_t at = (uintptr_t)address % PM_POOL_SIZE + 8;
    for (unsigned half = 0; half < 2; half++, at -= 8) {
        if (at < pool->start)
            continue;
        unsigned index = pm_block_index(pool->reciprocal, at - pool->start);
        if ((size_t)index * pool->units * 8 != at - pool->start || index >= pool->block_count)
            continue;
        void *object = address + (half == 0 ? 8 : 0);
        uint32_t info = po_read_info(po_header(object));
        if (info == 0 || !is_candidate(info))
            return NULL;
        return !arena->mixed || po_type_at(info)->heap == old->heap ? object : NULL;
    }
    return NULL;
}

/* Follows what is pending in the pool; more may become so meanwhile. Returns how many objects. */
static size_t
follow_pool(struct po_old *old, size_t number)
{
    struct po_arena *arena = po_arena_in_slot(old->heap, (uint32_t)(number / PM_ARENA_POOLS));
    uint64_t *pending = &old->pending[number * (PO_GRANULES / 64)];
    size_t followed = 0;
    unsigned page = number % PM_ARENA_POOLS;
    const struct po_pool *pool = arena != NULL ? po_pool_in(arena, page) : NULL;
    if (pool == NULL || page == 0 || pool->units == 0) {
        memset(pending, 0, PO_GRANULES / 8);
        return 1;
    }
    for (unsigned word = 0; word < PO_GRANULES / 64; word++) {
        while (pending[word] != 0) {
            unsigned granule = word * 64 + (unsigned)__builtin_ctzll(pending[word]);
            pending[word] &= pending[word] - 1;
            void *object = object_at(old, arena, pool, (char *)arena + page * PM_POOL_SIZE + granule * 16);
            if (object != NULL)
                po_visit(object, po_type_in(object), reach, old);
            followed++;
        }
        reach_batch(old);
        /* Again from the first word that has some now. */
        if (pending[word] != 0)
            word--;
        else if (word == PO_GRANULES / 64 - 1 && (pending[0] | pending[1] | pending[2]) != 0)
            word = UINT_MAX;
    }
    return followed + 1;
}

static bool
is_reached_from_outside(struct po_old *old, const void *object, uint64_t found)
{
    uint32_t count = po_count_of(po_header(object));
    found += po_carry_find(&old->carries, object);
    if (PM_UNLIKELY(old->exact && found > count && count != UINT32_MAX))
        po_fault_count(old->heap, object);
    return count == UINT32_MAX || count > found;
}

struct turn {
    struct po_old *old;
    const uint8_t *cells;        /* of the pool */
    uint64_t *reached, *pending;
};

/* In a pool's turn: what is reached, from outside or already, is followed at once. */
PM_INLINE void
reach_candidate(void *object, const po_type *type, struct turn *turn)
{
    unsigned granule = ((uintptr_t)object >> 4) % PO_GRANULES;
    uint64_t bit = UINT64_C(1) << (granule % 64);
    if (turn->reached[granule / 64] & bit) {
        if (!(turn->pending[granule / 64] & bit))
            return; /* frozen */
    } else if (!is_reached_from_outside(turn->old, object, turn->cells[granule])) {
        return;
    }
    turn->reached[granule / 64] |= bit;
    turn->pending[granule / 64] &= ~bit;
    po_visit(object, type, reach, turn->old);
}

PM_INLINE void
reach_object(void *object, po_type *type, void *context)
{
    struct turn *turn = context;
    if (PM_LIKELY(is_candidate(po_read_info(po_header(object)))))
        reach_candidate(object, type, turn);
}

static void
reach_blocks(struct turn *turn, const struct po_pool *pool, char *page)
{
    size_t size = (size_t)pool->units * 8;
    uint32_t last = UINT32_MAX; /* no header's */
    const po_type *type = NULL;
    char *object = page + pool->start;
    for (unsigned left = pool->block_count; left > 0; left--, object += size) {
        uint32_t info = po_read_info(po_header(object));
        if (PM_UNLIKELY(info != last)) {
            if (info == 0 || !is_candidate(info))
                continue;
            type = po_type_at(info);
            last = info;
        }
        reach_candidate(object, type, turn);
    }
}

static size_t
reach_large_object(struct po_old *old, uint32_t index)
{
    void *object = large_at(old, index);
    if (object != NULL && !(old->large_marks[index] & LARGE_REACHED) &&
        is_reached_from_outside(old, object, old->large_cells[index]))
        reach_large(old, index);
    return 1;
}

void
po_old_exclude(po_heap *heap, void *const *objects, size_t count)
{
    struct po_old *old = heap->old;
    size_t granule;
    uint32_t index;
    for (size_t i = 0; old != NULL && i < count; i++) {
        const struct po_place *place = po_place_of(objects[i]);
        if (place == NULL) {
            if (find_large(old, objects[i], &index) && old->phase <= QUEUE)
                reach_large(old, index);
        } else if (find_granule(old, place, objects[i], &granule)) {
            uint64_t bit = UINT64_C(1) << (granule % 64);
            if (old->phase == REACH || old->phase == QUEUE) {
                reach_granule(old, granule);
                continue;
            }
            /* The turns to come find it; and at the end all that it refers to was reached, or is new too. */
            if (old->phase == COUNT && !(old->reached[granule / 64] & bit))
                old->pending[granule / 64] |= bit;
            old->reached[granule / 64] |= bit;
        }
    }
}

/* ---- Steps ---- */

static char *
page_of(struct po_arena *arena, size_t number)
{
    return (char *)arena + number % PM_ARENA_POOLS * PM_POOL_SIZE;
}

/* The pool of this number, if it has objects to be visited. */
static bool
find_pool(const struct po_old *old, size_t number, struct po_arena **arena)
{
    unsigned page = number % PM_ARENA_POOLS;
    *arena = po_arena_in_slot(old->heap, (uint32_t)(number / PM_ARENA_POOLS));
    if (*arena == NULL || (*arena)->acyclic || page == 0)
        return false;
    const struct po_pool *pool = po_pool_in(*arena, page);
    if (PM_UNLIKELY((*arena)->heap != old->heap))
        return po_guest_pool(old->heap, number);
    return pool->units != 0 && pool->free_count != pool->block_count;
}

/* In a further round: what was reached is outside. */
static void
count_unreached(void *object, po_type *type, void *context)
{
    struct po_old *old = context;
    size_t granule;
    if (is_candidate(po_read_info(po_header(object))) && find_granule(old, po_place_of(object), object, &granule) &&
        !get_bit(old->reached, granule))
        po_visit(object, type, count_reference, old);
}

/* As a walk with count_object, of a pool with nothing peculiar: neighbours are mostly of one type. */
static void
count_blocks(struct po_old *old, const struct po_pool *pool, char *page)
{
    size_t size = (size_t)pool->units * 8;
    uint32_t last = UINT32_MAX; /* no header's */
    const po_type *type = NULL;
    char *object = page + pool->start;
    for (unsigned left = pool->block_count; left > 0; left--, object += size) {
        uint32_t info = po_read_info(po_header(object));
        if (PM_UNLIKELY(info != last)) {
            if (info == 0 || !is_candidate(info))
                continue;
            type = po_type_at(info);
            last = info;
        }
        old->visited++;
        po_visit(object, type, count_reference, old);
    }
}

static size_t
count_pool(struct po_old *old)
{
    struct po_arena *arena;
    size_t number = old->pool++, before = old->visited;
    if (!find_pool(old, number, &arena) || (old->rounds != 0 && !old->flagged[number]))
        return 1;
    if (old->rounds != 0)
        po_walk_pool(old->heap, arena, number % PM_ARENA_POOLS, count_unreached, old);
    else if (old->heap->frozen == 0 && !arena->mixed)
        count_blocks(old, po_pool_in(arena, number % PM_ARENA_POOLS), page_of(arena, number));
    else
        po_walk_pool(old->heap, arena, number % PM_ARENA_POOLS, count_object, old);
    count_batch(old);
    if (old->rounds == 0)
        old->alive[number] = (uint16_t)(old->visited - before);
    return old->visited - before + 1 + old->alive[number] / 4;
}

static size_t
count_large(struct po_old *old)
{
    uint32_t index = old->large++;
    void *object = large_at(old, index);
    if (object == NULL)
        return 1;
    const po_type *type = po_type_in(object);
    if (old->large_marks[index] & LARGE_REACHED)
        return 1;
    old->visited += old->rounds == 0;
    po_visit(object, type, count_reference, old);
    count_batch(old);
    return 1 + (type->has_items ? (size_t)*po_items_word(object) / 2 : 0);
}

static size_t
reach_pool(struct po_old *old)
{
    struct po_arena *arena;
    size_t number = old->pool;
    if (!find_pool(old, number, &arena) || (old->rounds != 0 && !old->flagged[number])) {
        old->queued[number] = 0;
        old->pool++;
        return 1;
    }
    struct turn turn = {old, &old->cells[number * PO_GRANULES], &old->reached[number * (PO_GRANULES / 64)],
                        &old->pending[number * (PO_GRANULES / 64)]};
    if (!arena->mixed)
        reach_blocks(&turn, po_pool_in(arena, number % PM_ARENA_POOLS), page_of(arena, number));
    else
        po_walk_pool(old->heap, arena, number % PM_ARENA_POOLS, reach_object, &turn);
    reach_batch(old);
    size_t work = follow_pool(old, number) + old->alive[number];
    old->queued[number] = 0;
    old->pool++;
    return work;
}

static size_t
take_from_queue(struct po_old *old)
{
    if (old->large_queue_count != 0) {
        void *object = large_at(old, old->large_queue[--old->large_queue_count]);
        if (object == NULL)
            return 1;
        const po_type *type = po_type_in(object);
        po_visit(object, type, reach, old);
        reach_batch(old);
        return 1 + (type->has_items ? (size_t)*po_items_word(object) / 2 : 0);
    }
    size_t number = old->queue[old->queue_head];
    old->queue_head = old->queue_head + 1 < old->pools ? old->queue_head + 1 : 0;
    old->queue_count--;
    old->queued[number] = 0;
    return follow_pool(old, number);
}

static void
flag_object(void *object, po_type *type, void *context)
{
    struct po_old *old = context;
    size_t granule;
    (void)type;
    if (is_candidate(po_read_info(po_header(object))) && find_granule(old, po_place_of(object), object, &granule) &&
        !get_bit(old->reached, granule))
        old->unreached++;
}

/* The cells of a pool that is flagged are free for the next round. */
static size_t
flag_pool(struct po_old *old)
{
    struct po_arena *arena;
    size_t before = old->unreached, number = old->pool++;
    if (find_pool(old, number, &arena))
        po_walk_pool(old->heap, arena, number % PM_ARENA_POOLS, flag_object, old);
    old->flagged[number] = old->unreached != before;
    if (old->flagged[number])
        memset(&old->cells[number * PO_GRANULES], 0, PO_GRANULES);
    return 1 + old->alive[number] / 2;
}

/* After FLAG: another round, or the end. */
static void
refine(struct po_old *old)
{
    old->pool = old->large = 0;
    if (old->unreached < REFINE_FROM || old->rounds == REFINE_ROUNDS) {
        old->phase = DONE;
        return;
    }
    old->rounds++;
    old->unreached = 0;
    po_carry_reset(&old->carries);
    memset(old->large_cells, 0, old->large_count * sizeof(uint32_t));
    old->phase = COUNT;
}

/* What comes next; returns its work. */
static size_t
advance(struct po_old *old)
{
    switch (old->phase) {
    case COUNT:
        if (old->pool < old->pools)
            return count_pool(old);
        if (old->large < old->large_count)
            return count_large(old);
        old->pool = old->large = 0;
        old->phase = REACH;
        memset(old->queued, 1, old->pools);
        return 1;
    case REACH:
        if (old->pool < old->pools)
            return reach_pool(old);
        if (old->large < old->large_count)
            return reach_large_object(old, old->large++);
        old->phase = QUEUE;
        return 1;
    case QUEUE:
        if (old->queue_count != 0 || old->large_queue_count != 0)
            return take_from_queue(old);
        old->pool = old->large = 0;
        old->phase = old->exact ? DONE : FLAG;
        return 1;
    case FLAG:
        if (old->pool < old->pools)
            return flag_pool(old);
        refine(old);
        return 1;
    default:
        return 1;
    }
}

bool
po_old_step(po_heap *heap, uint64_t deadline, size_t work)
{
    struct po_old *old = heap->old;
    size_t since = 0;
    while (old->phase != DONE && work > 0) {
        size_t done = advance(old);
        work -= done < work ? done : work;
        since += done;
        if (since < CHECK_WORK)
            continue;
        since = 0;
        if (po_now() >= deadline)
            break;
    }
    return old->phase == DONE;
}

/* ---- Garbage ---- */

struct gather {
    struct po_old *old;
    struct po_array *garbage;
    bool failed;
};

static void
gather_object(void *object, po_type *type, void *context)
{
    struct gather *gather = context;
    size_t granule;
    (void)type;
    if (is_candidate(po_read_info(po_header(object))) &&
        find_granule(gather->old, po_place_of(object), object, &granule) && !get_bit(gather->old->reached, granule))
        gather->failed |= !po_array_push(gather->garbage, object);
}

/* The objects of the pool that were reached, those apart that are frozen. */
static unsigned
count_reached(const struct po_old *old, size_t number)
{
    const uint64_t *reached = &old->reached[number * (PO_GRANULES / 64)];
    const po_heap *heap = old->heap;
    unsigned count = 0;
    for (unsigned word = 0; word < PO_GRANULES / 64; word++) {
        uint64_t bits = reached[word];
        if (heap->frozen != 0 && number / PM_ARENA_POOLS < heap->frozen_slots)
            bits &= ~heap->frozen_bits[number * (PO_GRANULES / 64) + word];
        count += (unsigned)__builtin_popcountll(bits);
    }
    return count;
}

static bool
gather(struct po_old *old, struct po_array *garbage)
{
    struct gather gather = {old, garbage, false};
    struct po_arena *arena;
    for (size_t number = 0; number < old->pools && !gather.failed; number++)
        if ((old->exact ? old->alive[number] > count_reached(old, number) : old->flagged[number]) &&
            find_pool(old, number, &arena))
            po_walk_pool(old->heap, arena, number % PM_ARENA_POOLS, gather_object, &gather);
    for (uint32_t i = 0; i < old->large_count && !gather.failed; i++) {
        void *object = large_at(old, i);
        if (object != NULL && !(old->large_marks[i] & LARGE_REACHED))
            gather.failed |= !po_array_push(garbage, object);
    }
    return !gather.failed;
}

bool
po_old_collect(po_heap *heap, struct po_array *garbage, size_t *survivors)
{
    struct po_old *old = begin(heap, true);
    if (old == NULL)
        return false;
    while (old->phase == COUNT)
        advance(old);
    bool done = !old->carries.failed;
    if (done) {
        while (old->phase != DONE)
            advance(old);
        done = gather(old, garbage);
    }
    *survivors = old->visited - garbage->count;
    end(old);
    if (!done)
        po_array_free(garbage);
    return done;
}

bool
po_old_guess(po_heap *heap, struct po_array *garbage, size_t *survivors)
{
    struct po_old *old = heap->old;
    size_t reachable = 0;
    bool done = !old->carries.failed && gather(old, garbage) && po_subset_split(heap, garbage, 0, &reachable);
    if (!done)
        garbage->count = reachable = 0;
    /* The array keeps its memory's beginning. */
    if (reachable != 0)
        memmove(garbage->items, garbage->items + reachable, (garbage->count - reachable) * sizeof(void *));
    garbage->count -= reachable;
    *survivors = old->visited > garbage->count ? old->visited - garbage->count : 0;
    po_old_end(heap);
    return done;
}
