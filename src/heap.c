/* SPDX-License-Identifier: MIT */
#include "heap.h"

#include <string.h>

#include "options.h"
#include "os.h"
#include "region.h"
#include "system.h"

/* A run has at most this many pools, and at most as many as the class has already: longer ones would take arenas for
 * classes that need a page. */
#define RUN_MAX 16u

/* Free pools that a heap keeps in any case, 128 KiB; and the most that go back to the kernel in one go, 4 MiB: other
 * threads may wait for the lock. */
#define KEEP_BASE 32u
#define PURGE_MAX 1024u

/* A heap with this many pools is large enough for huge pages, 24 MiB: one that is used in part does not count for
 * much. */
#define HUGE_FROM 6144u

/* Empty magazines that are full as well. */
struct pm_heap pm_heap_none, pm_heap_late;

PM_THREAD_LOCAL struct pm_heap *pm_heap_current = &pm_heap_none;

static struct pm_heap *_Atomic first_heap;

/* ---- Making a heap ---- */

struct pm_heap *
pm_heap_first(void)
{
    return atomic_load_explicit(&first_heap, memory_order_acquire);
}

struct pm_heap *
pm_heap_create(void)
{
    size_t bytes = sizeof(struct pm_heap) + pm_magazine_slots() * sizeof(void *);
    struct pm_heap *heap = pm_os_map(pm_round_up(bytes, pm_os_page_size()));
    if (heap == NULL)
        return NULL;
    for (unsigned granules = 0; granules < PM_GRANULE_COUNT; granules++) {
        unsigned number = pm_magazine_of_granules(granules, pm_options.alignment);
        heap->magazine_offset[granules] = (uint16_t)(number * sizeof(struct pm_magazine));
    }
    heap->slots_count = pm_magazine_slots();
    heap->keep.base = KEEP_BASE;
    struct pm_heap *none = NULL;
    atomic_compare_exchange_strong(&first_heap, &none, heap);
    return heap;
}

/* ---- Pools of a class; the heap's lock is held ---- */

static void
link_pool(struct pm_class_pools *class, struct pm_pool *pool)
{
    pool->next = NULL;
    pool->previous = class->last;
    if (class->last != NULL)
        class->last->next = pool;
    else
        class->first = pool;
    class->last = pool;
}

static void
unlink_pool(struct pm_class_pools *class, struct pm_pool *pool)
{
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        class->first = pool->next;
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    else
        class->last = pool->previous;
}

static void
link_arena(struct pm_arenas *list, struct pm_arena *arena, bool first)
{
    arena->previous = first ? NULL : list->last;
    arena->next = first ? list->first : NULL;
    if (arena->previous != NULL)
        arena->previous->next = arena;
    else
        list->first = arena;
    if (arena->next != NULL)
        arena->next->previous = arena;
    else
        list->last = arena;
}

static void
unlink_arena(struct pm_arenas *list, struct pm_arena *arena)
{
    if (arena->previous != NULL)
        arena->previous->next = arena->next;
    else
        list->first = arena->next;
    if (arena->next != NULL)
        arena->next->previous = arena->previous;
    else
        list->last = arena->previous;
}

/* Puts an arena whose pools have changed state on the list where it belongs, and counts what can be purged. */
static void
settle(struct pm_heap *heap, struct pm_arena *arena)
{
    unsigned purgeable = pm_arena_purgeable(arena);
    pm_keep_count(&heap->keep, purgeable, arena->purgeable);
    arena->purgeable = (uint8_t)purgeable;
    unsigned list = purgeable != 0 ? PM_ARENAS_DIRTY : arena->free_pools != 0 ? PM_ARENAS_CLEAN : PM_ARENAS_NO_LIST;
    if (list == arena->list)
        return;
    if (arena->list != PM_ARENAS_NO_LIST)
        unlink_arena(&heap->arenas[arena->list], arena);
    arena->list = (uint8_t)list;
    bool full = (unsigned)__builtin_popcountll(arena->free_pools) < PM_ARENA_POOLS / 2;
    if (list != PM_ARENAS_NO_LIST)
        link_arena(&heap->arenas[list], arena, list == PM_ARENAS_DIRTY || full);
}

/* Pools of an arena become free. */
static void
unreserve(struct pm_heap *heap, struct pm_arena *arena, unsigned first, unsigned count)
{
    pm_arena_unreserve(arena, first, count);
    settle(heap, arena);
}

static void
drop_run(struct pm_heap *heap, struct pm_class_pools *class)
{
    if (class->run_count == 0)
        return;
    unreserve(heap, class->run_arena, class->run_next, class->run_count);
    class->run_count = 0;
}

/* Nothing in the arena is assigned: what is reserved in it is let go, and it returns to the region. */
static void
return_arena(struct pm_heap *heap, struct pm_arena *arena)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        if (heap->classes[class].run_arena == arena)
            drop_run(heap, &heap->classes[class]);
    unlink_arena(&heap->arenas[arena->list], arena);
    pm_keep_count(&heap->keep, 0, arena->purgeable);
    pm_region_return_arena((uintptr_t)arena);
}

/* An arena with free pools, from the region if the heap has none. The first pool of class 1 in an arena takes another
 * one for the wide maps. */
static struct pm_arena *
find_arena(struct pm_heap *heap, unsigned class)
{
    for (unsigned list = 0; list < PM_ARENAS_LISTS; list++)
        for (struct pm_arena *arena = heap->arenas[list].first; arena != NULL; arena = arena->next)
            if (class != PM_CLASS_WIDE || arena->wide_maps != 0 || (arena->free_pools & (arena->free_pools - 1)) != 0)
                return arena;
    struct pm_region_arena taken = pm_region_take_arena(heap->pools >= HUGE_FROM);
    struct pm_arena *arena = (struct pm_arena *)taken.address;
    if (arena == NULL)
        return NULL;
    pm_arena_init(arena, heap, taken.dirty, taken.huge);
    if (taken.huge && heap->pools < HUGE_FROM)
        heap->keep.base = KEEP_BASE + PM_ARENA_POOLS; /* it came with its memory, begun by a larger heap */
    arena->list = PM_ARENAS_NO_LIST;
    settle(heap, arena);
    return arena;
}

/* No arena is to be had: takes over what another class reserved and has not used. */
static bool
steal_run(struct pm_heap *heap, struct pm_class_pools *thief)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_class_pools *victim = &heap->classes[class];
        if (victim->run_count == 0)
            continue;
        thief->run_arena = victim->run_arena;
        thief->run_next = victim->run_next;
        thief->run_count = victim->run_count;
        victim->run_count = 0;
        return true;
    }
    return false;
}

static bool
reserve_run(struct pm_heap *heap, unsigned number)
{
    struct pm_class_pools *class = &heap->classes[number];
    struct pm_arena *arena = find_arena(heap, number);
    if (arena == NULL)
        return number != PM_CLASS_WIDE && steal_run(heap, class);
    unsigned wanted = class->pools < RUN_MAX ? class->pools : RUN_MAX;
    unsigned first, count;
    if (number == PM_CLASS_WIDE && arena->wide_maps == 0) {
        pm_arena_reserve(arena, 1, &first);
        pm_pool_assign_wide_maps(arena, first);
    }
    count = pm_arena_reserve(arena, wanted != 0 ? wanted : 1, &first);
    settle(heap, arena);
    class->run_arena = arena;
    class->run_next = (uint8_t)first;
    class->run_count = (uint8_t)count;
    return true;
}

static struct pm_pool *
assign_pool(struct pm_heap *heap, unsigned number)
{
    struct pm_class_pools *class = &heap->classes[number];
    if (class->run_count == 0 && !reserve_run(heap, number))
        return NULL;
    if (!(class->run_arena->dirty_pools & pm_arena_bit(class->run_next)))
        pm_keep_regret(&heap->keep, 1);
    struct pm_pool *pool = pm_pool_assign(class->run_arena, class->run_next, number);
    heap->pools++;
    class->run_next++;
    class->run_count--;
    class->pools++;
    class->free_blocks += pool->block_count;
    link_pool(class, pool);
    return pool;
}

/* All blocks of the pool are free. If it is the one that was taken last from the run, the run gets it back: a program
 * that moves over a pool's edge again and again stays on the same page. */
static void
release_pool(struct pm_heap *heap, struct pm_pool *pool)
{
    struct pm_class_pools *class = &heap->classes[pool->class];
    struct pm_arena *arena = pm_arena_at(pool);
    unsigned index = pm_pool_index(pool);
    unlink_pool(class, pool);
    pm_pool_unassign(pool);
    heap->pools--;
    class->pools--;
    class->free_blocks -= pool->block_count;
    if (class->run_arena == arena && class->run_next == index + 1 && class->run_count < RUN_MAX) {
        class->run_next--;
        class->run_count++;
    } else {
        unreserve(heap, arena, index, 1);
    }
    if (arena->wide_maps != 0 && arena->wide_pools == 0) {
        drop_run(heap, class);
        unreserve(heap, arena, arena->wide_maps, 1);
        arena->wide_maps = 0;
        arena->assigned--;
    }
    if (arena->assigned == 0)
        return_arena(heap, arena);
}

/* ---- Blocks; the heap's lock is held ---- */

unsigned
pm_heap_take(struct pm_heap *heap, unsigned number, void **end, unsigned wanted)
{
    struct pm_class_pools *class = &heap->classes[number];
    unsigned taken = 0;
    while (taken < wanted) {
        struct pm_pool *pool = class->first;
        /* A new pool only for the block that is needed now, not to fill up the batch. */
        if (pool == NULL && (taken != 0 || (pool = assign_pool(heap, number)) == NULL))
            break;
        taken += pm_pool_take(pool, end - taken, wanted - taken);
        if (pool->free_count == 0)
            unlink_pool(class, pool);
    }
    class->free_blocks -= taken;
    class->counts.refilled += taken;
    class->counts.refills += taken != 0;
    return taken;
}

/* As pm_heap_give. Neighbours in the batch are often neighbours in memory: those of a page go together. */
static unsigned
return_own(struct pm_heap *heap, void **blocks, unsigned count, enum pm_fault *fault)
{
    unsigned others = 0;
    for (unsigned i = 0; i < count;) {
        void *block = blocks[i];
        /* The byte comes first: a wrong pointer may point to where there is no arena to ask for its owner. */
        bool none = *pm_region_page(block) == 0;
        if (PM_LIKELY(!none) && pm_arena_at(block)->heap != heap) {
            blocks[others++] = block;
            i++;
            continue;
        }
        struct pm_pool *pool = pm_pool_at(block);
        unsigned returned = 0;
        if (PM_UNLIKELY(none))
            *fault = PM_FAULT_POOL_FREE;
        else
            returned = pm_pool_return(pool, blocks + i, count - i, fault);
        i += returned;
        if (PM_UNLIKELY(*fault != PM_FAULT_NONE)) {
            blocks[0] = blocks[i];
            return 1;
        }
        struct pm_class_pools *class = &heap->classes[pool->class];
        class->free_blocks += returned;
        class->counts.flushed += returned;
        if (pool->free_count == returned)
            link_pool(class, pool);
        if (pool->free_count == pool->block_count)
            release_pool(heap, pool);
    }
    return others;
}

/* ---- Giving memory back; the heap's lock is held ---- */

static void
drop_runs(struct pm_heap *heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        drop_run(heap, &heap->classes[class]);
}

/* Those with pools that were used before: their memory would escape notice. */
static void
drop_dirty_runs(struct pm_heap *heap)
{
    for (unsigned number = 1; number <= PM_CLASS_LAST; number++) {
        struct pm_class_pools *class = &heap->classes[number];
        struct pm_run run = {class->run_next, class->run_count};
        if (class->run_count != 0 && (class->run_arena->dirty_pools & pm_run_bits(run)) != 0)
            drop_run(heap, class);
    }
}

/* Purges one arena. Of one whose pages the kernel did not take, it is the others' turn first. */
static unsigned
purge_arena(struct pm_heap *heap, struct pm_arena *arena)
{
    bool refused = false;
    unsigned purged = pm_arena_purge(arena, &refused);
    settle(heap, arena);
    heap->keep.refusals += refused;
    if (refused && arena->list == PM_ARENAS_DIRTY) {
        unlink_arena(&heap->arenas[PM_ARENAS_DIRTY], arena);
        link_arena(&heap->arenas[PM_ARENAS_DIRTY], arena, true);
    }
    return purged;
}

/* From the arena that has been on the dirty list longest, until no more than `target` pools are left there, or `most`
 * have gone, or the kernel takes no more: an arena leaves the list, or is a refusal. */
static unsigned
purge(struct pm_heap *heap, size_t target, unsigned most)
{
    unsigned purged = 0;
    while (pm_keep_is_above(&heap->keep, target) && purged < most)
        purged += purge_arena(heap, heap->arenas[PM_ARENAS_DIRTY].last);
    return purged;
}

/* What huge pages hold that would not be broken up otherwise. */
static unsigned
purge_huge(struct pm_heap *heap, unsigned most)
{
    unsigned purged = 0;
    struct pm_arena *next, *arena = heap->arenas[PM_ARENAS_CLEAN].first;
    for (; arena != NULL && purged < most && heap->keep.refusals < PM_KEEP_REFUSALS; arena = next) {
        next = arena->next;
        if (arena->huge)
            purged += purge_arena(heap, arena);
    }
    return purged;
}

/* Gives back what is above the limit. */
static PM_NOINLINE void
balance(struct pm_heap *heap)
{
    size_t limit = pm_keep_limit(&heap->keep, heap->pools);
    if (!pm_keep_is_above(&heap->keep, limit))
        return;
    drop_runs(heap);
    heap->keep.given += purge(heap, pm_keep_target(limit), PURGE_MAX);
}

static bool
above_limit(const struct pm_heap *heap)
{
    return pm_keep_is_above(&heap->keep, pm_keep_limit(&heap->keep, heap->pools));
}

unsigned
pm_heap_give(struct pm_heap *heap, void **blocks, unsigned count, enum pm_fault *fault)
{
    struct pm_class_counts *counts = &heap->classes[*pm_region_page(blocks[0])].counts;
    unsigned others = return_own(heap, blocks, count, fault);
    counts->flushes += others != count;
    if (heap != pm_heap_current)
        counts->flushed_remote += count - others;
    if (PM_UNLIKELY(above_limit(heap)))
        balance(heap);
    return others;
}

/* ---- Any thread ---- */

static void *_Atomic deferred;

/* The lock of the heap that the first of the blocks returns to was refused. */
static void
defer(struct pm_lock *lock, void **blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        void *next = atomic_load_explicit(&deferred, memory_order_relaxed);
        do
            *(void **)blocks[i] = next;
        while (!atomic_compare_exchange_weak(&deferred, &next, blocks[i]));
    }
    /* The fork may have emptied the list before the last of them was on it. */
    if (!pm_lock_refuses(lock))
        pm_heap_return_deferred();
}

void
pm_heap_return_deferred(void)
{
    void *block = atomic_load(&deferred) != NULL ? atomic_exchange(&deferred, NULL) : NULL;
    while (block != NULL) {
        void *next = *(void **)block;
        pm_heap_return(&block, 1, PM_FOUND_LATER);
        block = next;
    }
}

void
pm_heap_return(void **blocks, unsigned count, enum pm_found found)
{
    while (count != 0) {
        /* A block in use keeps its arena with its heap; only a block that is none finds no owner. */
        struct pm_heap *owner = pm_heap_owner(blocks[0]);
        if (PM_UNLIKELY(owner == NULL))
            pm_pool_report_fault("free", blocks[0], PM_FAULT_POOL_FREE, found);
        enum pm_fault fault = PM_FAULT_NONE;
        if (PM_UNLIKELY(!pm_lock_acquire_unless_forking(&owner->lock))) {
            defer(&owner->lock, blocks, count);
            return;
        }
        count = pm_heap_give(owner, blocks, count, &fault);
        pm_lock_release(&owner->lock);
        if (PM_UNLIKELY(fault != PM_FAULT_NONE))
            pm_pool_report_fault("free", blocks[0], fault, found);
    }
}

void *
pm_heap_take_one(struct pm_heap *heap, unsigned class)
{
    void *slot[1] = {NULL};
    if (PM_UNLIKELY(!pm_lock_acquire_unless_forking(&heap->lock)))
        return NULL;
    pm_heap_take(heap, class, slot + 1, 1);
    pm_lock_release(&heap->lock);
    return slot[0];
}

void
pm_heap_drop_runs(struct pm_heap *heap)
{
    if (!pm_lock_acquire_unless_forking(&heap->lock))
        return;
    drop_runs(heap);
    balance(heap);
    pm_lock_release(&heap->lock);
}

bool
pm_heap_age(struct pm_heap *heap, uint64_t now)
{
    if (!pm_lock_acquire_unless_forking(&heap->lock))
        return true;
    pm_keep_age(&heap->keep, now);
    if (heap->pools != 0)
        drop_dirty_runs(heap);
    balance(heap);
    bool unfinished = !pm_keep_settled(&heap->keep, heap->pools) || above_limit(heap);
    pm_lock_release(&heap->lock);
    return unfinished;
}

bool
pm_heap_purge(struct pm_heap *heap)
{
    bool any = false;
    unsigned purged;
    do {
        if (!pm_lock_acquire_unless_forking(&heap->lock))
            break;
        drop_runs(heap);
        heap->keep.refusals = 0;
        purged = purge(heap, 0, PURGE_MAX) + purge_huge(heap, PURGE_MAX);
        pm_lock_release(&heap->lock);
        any |= purged != 0;
    } while (purged != 0);
    return any;
}

/* ---- Checks ---- */

static void
verify_class(struct pm_class_pools *class, unsigned number)
{
    uint64_t free_blocks = 0;
    const struct pm_pool *previous = NULL;
    for (const struct pm_pool *pool = class->first; pool != NULL; previous = pool, pool = pool->next) {
        pm_pool_verify(pool);
        if (pool->class != number)
            pm_report_bug("a pool is on the list of another class");
        if (pool->free_count == 0 || pool->free_count == pool->block_count)
            pm_report_bug("a full or a free pool is on its class's list");
        if (pool->previous != previous)
            pm_report_bug("the list of a class's pools is broken");
        free_blocks += pool->free_count;
    }
    if (class->last != previous)
        pm_report_bug("the list of a class's pools has another end");
    if (free_blocks != class->free_blocks)
        pm_report_bug("a class's count of free blocks is not that of its pools");
}

/* Returns how many of their pools can be purged. */
static size_t
verify_arenas(const struct pm_heap *heap, unsigned list)
{
    size_t purgeable = 0;
    for (const struct pm_arena *arena = heap->arenas[list].first; arena != NULL; arena = arena->next) {
        if (arena->heap != heap || arena->free_pools == 0 || arena->free_pools & 1 || arena->list != list)
            pm_report_bug("an arena on a heap's list has no free pool, or another heap or list");
        if (arena->assigned + (unsigned)__builtin_popcountll(arena->free_pools) > PM_ARENA_POOLS - 1)
            pm_report_bug("an arena has more pools than it can");
        if (pm_arena_purgeable(arena) != arena->purgeable || (arena->purgeable != 0) != (list == PM_ARENAS_DIRTY))
            pm_report_bug("an arena's pools can be purged, or not, against what is known of them");
        purgeable += arena->purgeable;
    }
    return purgeable;
}

void
pm_heap_verify(struct pm_heap *heap)
{
    pm_lock_acquire(&heap->lock);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        verify_class(&heap->classes[class], class);
    size_t purgeable = 0;
    for (unsigned list = 0; list < PM_ARENAS_LISTS; list++)
        purgeable += verify_arenas(heap, list);
    if (purgeable != heap->keep.dirty)
        pm_report_bug("a heap's count of pools that can be purged is not that of its arenas");
    pm_lock_release(&heap->lock);
}
