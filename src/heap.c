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

/* An empty magazine that is full as well. */
static void *no_slots[2];
#define NO_MAGAZINE                                                                  \
    {                                                                                \
        .top = no_slots + 1, .limit = no_slots + 1, .batch = PM_BATCH_MIN \
    }

struct pm_heap pm_heap_none = {.magazines = {[0 ... PM_MAGAZINE_COUNT - 1] = NO_MAGAZINE}};
struct pm_heap pm_heap_late; /* filled in when the first thread exits: programs without threads need not load it */

PM_THREAD_LOCAL struct pm_heap *pm_heap_current = &pm_heap_none;

/* ---- Making a heap ---- */

/* Room for every magazine to begin small and to grow once, each time with its NULL in front. */
static unsigned
slots_needed(void)
{
    unsigned count = 0;
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        unsigned capacity = pm_magazine_capacity(number);
        count += capacity + 1 + (capacity > PM_MAGAZINE_MIN ? PM_MAGAZINE_MIN + 1 : 0);
    }
    return count;
}

struct pm_heap *
pm_heap_create(void)
{
    size_t bytes = sizeof(struct pm_heap) + slots_needed() * sizeof(void *);
    struct pm_heap *heap = pm_os_map(pm_round_up(bytes, pm_os_page_size()));
    if (heap == NULL)
        return NULL;
    memcpy(heap->magazines, pm_heap_none.magazines, sizeof heap->magazines);
    for (unsigned granules = 0; granules < PM_GRANULE_COUNT; granules++)
        heap->magazine_of[granules] = (uint8_t)pm_magazine_of_granules(granules, pm_options.alignment);
    heap->slots_count = slots_needed();
    return heap;
}

/* Gives a magazine its first or its full capacity. The lock is held. */
static void
grow(struct pm_heap *heap, unsigned number)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    unsigned capacity = pm_magazine_capacity(number);
    if (magazine->capacity == 0 && capacity > PM_MAGAZINE_MIN)
        capacity = PM_MAGAZINE_MIN;
    unsigned count = pm_magazine_count(magazine);
    if (pm_options.check || capacity == magazine->capacity || heap->slots_used + capacity + 1 > heap->slots_count)
        return;
    void **base = heap->slots + heap->slots_used + 1; /* fresh slots are NULL */
    memcpy(base, pm_magazine_base(magazine), count * sizeof(void *));
    heap->slots_used += capacity + 1;
    *magazine = (struct pm_magazine){
        .limit = base + capacity, .capacity = capacity, .batch = magazine->batch};
    pm_magazine_set_top(magazine, base + count);
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
link_arena(struct pm_heap *heap, struct pm_arena *arena)
{
    arena->previous = NULL;
    arena->next = heap->arenas;
    if (heap->arenas != NULL)
        heap->arenas->previous = arena;
    heap->arenas = arena;
}

static void
unlink_arena(struct pm_heap *heap, struct pm_arena *arena)
{
    if (arena->previous != NULL)
        arena->previous->next = arena->next;
    else
        heap->arenas = arena->next;
    if (arena->next != NULL)
        arena->next->previous = arena->previous;
}

/* Pools of an arena become free. */
static void
unreserve(struct pm_heap *heap, struct pm_arena *arena, unsigned first, unsigned count)
{
    if (arena->free_pools == 0)
        link_arena(heap, arena);
    pm_arena_unreserve(arena, first, count);
}

static void
drop_run(struct pm_heap *heap, struct pm_class_pools *class)
{
    if (class->run_count != 0)
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
    unlink_arena(heap, arena);
    pm_region_return_arena((uintptr_t)arena);
}

/* An arena with free pools, from the region if the heap has none. The first pool of class 1 in an arena takes another
 * one for the wide maps. */
static struct pm_arena *
find_arena(struct pm_heap *heap, unsigned class)
{
    for (struct pm_arena *arena = heap->arenas; arena != NULL; arena = arena->next)
        if (class != PM_CLASS_WIDE || arena->wide_maps != 0 || (arena->free_pools & (arena->free_pools - 1)) != 0)
            return arena;
    bool dirty;
    struct pm_arena *arena = (struct pm_arena *)pm_region_take_arena(&dirty);
    if (arena == NULL)
        return NULL;
    pm_arena_init(arena, heap, dirty);
    link_arena(heap, arena);
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
    if (arena->free_pools == 0)
        unlink_arena(heap, arena);
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
    struct pm_pool *pool = pm_pool_assign(class->run_arena, class->run_next, number);
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
    class->pools--;
    class->free_blocks -= pool->block_count;
    if (class->run_arena == arena && class->run_next == index + 1) {
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

/* Stores up to `wanted` blocks downwards from end[-1], the lowest address last; returns how many. */
static unsigned
take_blocks(struct pm_heap *heap, unsigned number, void **end, unsigned wanted)
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

static enum pm_fault
return_block(struct pm_heap *heap, void *block, unsigned number)
{
    struct pm_class_pools *class = &heap->classes[number];
    struct pm_pool *pool = pm_pool_at(block);
    enum pm_fault fault = pm_pool_return(pool, block);
    if (PM_UNLIKELY(fault != PM_FAULT_NONE))
        return fault;
    class->free_blocks++;
    class->counts.flushed++;
    if (pool->free_count == 1)
        link_pool(class, pool);
    else if (pool->free_count == pool->block_count)
        release_pool(heap, pool);
    return PM_FAULT_NONE;
}

/* Returns those of the blocks that lie in the heap's arenas and moves the others to the front; returns how many those
 * are. A faulty block ends the batch: it is then the first of the others. */
static unsigned
return_own(struct pm_heap *heap, void **blocks, unsigned count, enum pm_fault *fault)
{
    unsigned others = 0;
    for (unsigned i = 0; i < count; i++) {
        void *block = blocks[i];
        /* The byte comes first: a wrong pointer may point to where there is no arena to ask for its owner. */
        unsigned number = *pm_region_page(block);
        if (PM_LIKELY(number != 0) && pm_arena_at(block)->heap != heap) {
            blocks[others++] = block;
            continue;
        }
        *fault = PM_LIKELY(number != 0) ? return_block(heap, block, number) : PM_FAULT_POOL_FREE;
        if (PM_UNLIKELY(*fault != PM_FAULT_NONE)) {
            blocks[0] = block;
            return 1;
        }
    }
    return others;
}

/* ---- Any thread ---- */

static _Noreturn void
report_fault(void *block, enum pm_fault fault, enum pm_found found)
{
    if (fault == PM_FAULT_INSIDE)
        pm_report_fault("free", block, fault, found, pm_pool_block_of(block), pm_class_size(*pm_region_page(block)));
    pm_report_fault("free", block, fault, found, NULL, 0);
}

void
pm_heap_return(void **blocks, unsigned count, enum pm_found found)
{
    while (count != 0) {
        /* A block in use keeps its arena with its heap; only a block that is none finds no owner. */
        unsigned number = *pm_region_page(blocks[0]);
        struct pm_heap *owner = number != 0 ? pm_arena_at(blocks[0])->heap : NULL;
        if (PM_UNLIKELY(owner == NULL))
            report_fault(blocks[0], PM_FAULT_POOL_FREE, found);
        enum pm_fault fault = PM_FAULT_NONE;
        struct pm_class_counts *counts = &owner->classes[number].counts;
        pm_lock_acquire(&owner->lock);
        unsigned others = return_own(owner, blocks, count, &fault);
        counts->flushes++;
        if (owner != pm_heap_current)
            counts->flushed_remote += count - others;
        pm_lock_release(&owner->lock);
        if (PM_UNLIKELY(fault != PM_FAULT_NONE))
            report_fault(blocks[0], fault, found);
        count = others;
    }
}

void *
pm_heap_take_one(struct pm_heap *heap, unsigned class)
{
    void *slot[1] = {NULL};
    pm_lock_acquire(&heap->lock);
    take_blocks(heap, class, slot + 1, 1);
    pm_lock_release(&heap->lock);
    return slot[0];
}

static void
drop_runs(struct pm_heap *heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        drop_run(heap, &heap->classes[class]);
}

void
pm_heap_drop_runs(struct pm_heap *heap)
{
    pm_lock_acquire(&heap->lock);
    drop_runs(heap);
    pm_lock_release(&heap->lock);
}

bool
pm_heap_purge(struct pm_heap *heap, bool aged_only)
{
    unsigned purged = 0;
    pm_lock_acquire(&heap->lock);
    drop_runs(heap);
    for (struct pm_arena *arena = heap->arenas; arena != NULL; arena = arena->next)
        purged += pm_arena_purge(arena, aged_only);
    pm_lock_release(&heap->lock);
    return purged != 0;
}

/* ---- The heap's own thread ---- */

void *
pm_heap_refill(struct pm_heap *heap, unsigned class)
{
    struct pm_magazine *magazine = &heap->magazines[class];
    /* A heap taken over in a forked child comes with what its thread had at hand. */
    void *block = pm_magazine_pop(magazine);
    if (block != NULL)
        return block;
    pm_lock_acquire(&heap->lock);
    if (magazine->batch > magazine->capacity / 2)
        grow(heap, class);
    /* At most half of it, so that the frees that follow find room. */
    unsigned wanted = magazine->batch < magazine->capacity / 2 ? magazine->batch : magazine->capacity / 2;
    magazine->batch = 2 * wanted;
    void **base = pm_magazine_base(magazine);
    unsigned taken = take_blocks(heap, class, base + wanted, wanted);
    if (taken < wanted)
        memmove(base, base + wanted - taken, taken * sizeof(void *));
    pm_magazine_set_top(magazine, base + taken);
    pm_lock_release(&heap->lock);
    return magazine->capacity != 0 ? pm_magazine_pop(magazine) : pm_heap_take_one(heap, class);
}

/* Moves the oldest `count` entries of a magazine into `batch`. The lock is held. */
static void
remove_oldest(struct pm_magazine *magazine, void **batch, unsigned count)
{
    void **base = pm_magazine_base(magazine);
    memcpy(batch, base, count * sizeof(void *));
    memmove(base, base + count, (pm_magazine_count(magazine) - count) * sizeof(void *));
    pm_magazine_set_top(magazine, magazine->top - count);
}

/* Puts `block` on a magazine that has no room: the magazine grows, or its oldest half leaves it. With NULL for a block all
 * of it leaves. What leaves returns to where it belongs. False when the block did not fit all the same. */
static bool
flush(struct pm_heap *heap, unsigned number, void *block)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    void *batch[PM_MAGAZINE_MAX];
    bool pooled = number <= PM_CLASS_LAST;
    enum pm_fault fault = PM_FAULT_NONE;
    pm_lock_acquire(&heap->lock);
    if (block != NULL)
        grow(heap, number);
    unsigned count = pm_magazine_count(magazine);
    if (block != NULL)
        count = magazine->top == magazine->limit ? (count + 1) / 2 : 0;
    remove_oldest(magazine, batch, count);
    if (pooled && count != 0) {
        unsigned others = return_own(heap, batch, count, &fault);
        heap->classes[number].counts.flushes += others != count;
        count = others;
    }
    bool pushed = block == NULL || pm_magazine_push(magazine, block);
    pm_lock_release(&heap->lock);
    if (PM_UNLIKELY(fault != PM_FAULT_NONE))
        report_fault(batch[0], fault, PM_FOUND_LATER);
    if (pooled)
        pm_heap_return(batch, count, PM_FOUND_LATER);
    for (unsigned i = 0; !pooled && i < count; i++)
        pm_system_free(batch[i]);
    return pushed;
}

void
pm_heap_flush(struct pm_heap *heap, unsigned number, void *block)
{
    if (PM_LIKELY(flush(heap, number, block)))
        return;
    if (number <= PM_CLASS_LAST)
        pm_heap_return(&block, 1, PM_FOUND_AT_ONCE);
    else
        pm_system_free(block);
}

bool
pm_heap_flush_all(struct pm_heap *heap)
{
    bool flushed = false;
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        unsigned count = pm_magazine_count(&heap->magazines[number]);
        if (count != 0)
            flush(heap, number, NULL);
        heap->magazines[number].batch = PM_BATCH_MIN;
        flushed |= count != 0;
    }
    return flushed;
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

void
pm_heap_verify(struct pm_heap *heap)
{
    pm_lock_acquire(&heap->lock);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        verify_class(&heap->classes[class], class);
    for (const struct pm_arena *arena = heap->arenas; arena != NULL; arena = arena->next) {
        if (arena->heap != heap || arena->free_pools == 0 || arena->free_pools & 1)
            pm_report_bug("an arena on the heap's list has no free pool, or another heap");
        if (arena->assigned + (unsigned)__builtin_popcountll(arena->free_pools) > PM_ARENA_POOLS - 1)
            pm_report_bug("an arena has more pools than it can");
    }
    pm_lock_release(&heap->lock);
}
