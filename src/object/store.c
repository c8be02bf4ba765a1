/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../lock.h"
#include "../options.h"
#include "../os.h"

#define SLOTS 128u      /* of a magazine */
#define BATCH (SLOTS / 2)
#define RUN_MAX 16u     /* pools reserved at once */
#define HUGE_FROM 6144u /* a heap of that many pools is large enough for huge pages, as in the allocator */
#define KEEP_POOLS 64u  /* empty pools that are kept in any case, and an eighth of those in use */
#define LARGE_MAX (UINT32_MAX / 2)
#define MAGAZINE_BYTES pm_round_up(sizeof(struct po_magazine) + SLOTS * sizeof(void *), PM_CACHE_LINE)
#define MAGAZINE_CHUNK ((size_t)16384)

struct pm_lock po_mixed_lock;
struct po_magazine po_no_magazine;
struct po_place *po_places;
uintptr_t po_base;
size_t po_place_count;

/* ---- Start ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started;

static void
before_fork(void)
{
    pm_lock_acquire(&po_mixed_lock);
    pm_lock_acquire(&pm_region_lock);
}

static void
after_fork(void)
{
    pm_lock_release(&pm_region_lock);
    pm_lock_release(&po_mixed_lock);
}

static void
start(void)
{
    pm_options.huge_pages = 1;
    pm_options.purge = 1; /* balanced */
    pm_region_init(0);
    if (pm_region.size == 0)
        return;
    po_base = pm_region.base;
    po_place_count = pm_region.size >> PM_ARENA_SHIFT;
    po_places = pm_os_map(pm_round_up(po_place_count * sizeof(struct po_place), pm_os_page_size()));
    started = po_places != NULL && pthread_atfork(before_fork, after_fork, after_fork) == 0;
}

bool
po_store_start(void)
{
    pthread_once(&once, start);
    return started;
}

/* ---- Arenas ---- */

static void
open_arena(po_heap *heap, struct po_arena *arena)
{
    struct po_arena **first = &heap->open_arenas[arena->acyclic];
    arena->open = true;
    arena->previous = NULL;
    arena->next = *first;
    if (*first != NULL)
        (*first)->previous = arena;
    *first = arena;
}

static void
close_arena(po_heap *heap, struct po_arena *arena)
{
    arena->open = false;
    if (arena->previous != NULL)
        arena->previous->next = arena->next;
    else
        heap->open_arenas[arena->acyclic] = arena->next;
    if (arena->next != NULL)
        arena->next->previous = arena->previous;
}

bool
po_store_find_slot(po_heap *heap, uint32_t *slot)
{
    for (uint32_t i = 0; i < heap->arena_count; i++)
        if (heap->arenas[i] == NULL) {
            *slot = i;
            return true;
        }
    struct po_array array = {(void **)heap->arenas, heap->arena_count, heap->arena_capacity};
    if (!po_array_push(&array, NULL))
        return false;
    heap->arenas = (struct po_arena **)array.items;
    heap->arena_capacity = (uint32_t)array.capacity;
    *slot = heap->arena_count++;
    return true;
}

static struct po_arena *
take_arena(po_heap *heap, bool acyclic)
{
    uint32_t slot;
    if (!po_memory_allowed() || !po_store_find_slot(heap, &slot))
        return NULL;
    struct pm_region_arena taken = pm_region_take_arena(heap->pools >= HUGE_FROM);
    struct po_arena *arena = (struct po_arena *)taken.address;
    if (arena == NULL)
        return NULL;
    memset(arena, 0, PM_POOL_SIZE);
    arena->free_pools = ~UINT64_C(1);
    arena->dirty_pools = taken.dirty ? ~UINT64_C(1) : 0;
    arena->heap = heap;
    arena->acyclic = acyclic;
    arena->huge = taken.huge;
    arena->slot = slot;
    heap->arenas[slot] = arena;
    *po_place_of(arena) = (struct po_place){heap, slot, acyclic};
    open_arena(heap, arena);
    return arena;
}

static void
return_arena(po_heap *heap, struct po_arena *arena)
{
    if (arena->open)
        close_arena(heap, arena);
    heap->arenas[arena->slot] = NULL;
    *po_place_of(arena) = (struct po_place){NULL, 0, false};
    pm_region_return_arena((uintptr_t)arena);
}

/* Neighbouring free pools of an arena, the lowest there are. */
static bool
reserve_run(po_heap *heap, struct po_magazine *magazine)
{
    bool acyclic = (magazine->kind & PO_KIND_ACYCLIC) != 0;
    struct po_arena *arena = heap->open_arenas[acyclic];
    if (arena == NULL && (arena = take_arena(heap, acyclic)) == NULL)
        return false;
    unsigned wanted = magazine->pools < 1 ? 1 : magazine->pools < RUN_MAX ? magazine->pools : RUN_MAX;
    struct pm_run run = pm_first_run(arena->free_pools);
    run.count = run.count < wanted ? run.count : wanted;
    arena->free_pools &= ~pm_run_bits(run);
    if (arena->free_pools == 0)
        close_arena(heap, arena);
    magazine->run_arena = arena;
    magazine->run_next = (uint8_t)run.first;
    magazine->run_count = (uint8_t)run.count;
    return true;
}

static void
free_pools(po_heap *heap, struct po_arena *arena, uint64_t bits)
{
    arena->free_pools |= bits;
    if (!arena->open)
        open_arena(heap, arena);
}

static void
drop_run(po_heap *heap, struct po_magazine *magazine)
{
    if (magazine->run_count != 0)
        free_pools(heap, magazine->run_arena, pm_run_bits((struct pm_run){magazine->run_next, magazine->run_count}));
    magazine->run_count = 0;
}

/* No arena is to be had: takes over what another magazine of the same sort reserved. */
static bool
steal_run(po_heap *heap, struct po_magazine *thief)
{
    for (unsigned kind = 0; kind < PO_KINDS; kind++)
        for (unsigned units = 0; units < PO_UNITS; units++) {
            struct po_magazine *victim = heap->magazines[kind][units];
            if (victim == NULL || victim->run_count == 0 || ((kind ^ thief->kind) & PO_KIND_ACYCLIC) != 0)
                continue;
            thief->run_arena = victim->run_arena;
            thief->run_next = victim->run_next;
            thief->run_count = victim->run_count;
            victim->run_count = 0;
            return true;
        }
    return false;
}

/* ---- Pools ---- */

static void
link_pool(struct po_magazine *magazine, struct po_pool *pool)
{
    pool->next = NULL;
    pool->previous = magazine->last;
    if (magazine->last != NULL)
        magazine->last->next = pool;
    else
        magazine->first = pool;
    magazine->last = pool;
}

static void
unlink_pool(struct po_magazine *magazine, struct po_pool *pool)
{
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        magazine->first = pool->next;
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    else
        magazine->last = pool->previous;
}

static char *
pool_memory(const struct po_pool *pool)
{
    return (char *)pm_arena_of(pool) + ((uintptr_t)pool % PM_POOL_SIZE) / PM_DESCRIPTOR_SIZE * PM_POOL_SIZE;
}

static void
clear_headers(const struct po_pool *pool)
{
    char *object = pool_memory(pool) + pool->start;
    for (unsigned i = 0; i < pool->block_count; i++, object += (size_t)pool->units * 8)
        po_clear_header(po_header(object));
}

static struct po_pool *
assign_pool(po_heap *heap, struct po_magazine *magazine)
{
    if (heap->memory_limit != 0 && po_store_held(heap) + PM_POOL_SIZE > heap->memory_limit)
        return NULL;
    if (magazine->run_count == 0 && !reserve_run(heap, magazine) && !steal_run(heap, magazine))
        return NULL;
    struct po_arena *arena = magazine->run_arena;
    unsigned page = magazine->run_next++;
    magazine->run_count--;
    struct po_pool *pool = po_pool_in(arena, page);
    unsigned prefix = magazine->kind & PO_KIND_ITEMS ? 16 : 8;
    unsigned blocks = (unsigned)((PM_POOL_SIZE - (magazine->start - prefix)) / (magazine->units * 8u));
    *pool = (struct po_pool){
        .reciprocal = pm_class_reciprocal(magazine->units),
        .free_count = (uint16_t)blocks,
        .block_count = (uint16_t)blocks,
        .start = magazine->start,
        .units = magazine->units,
        .kind = magazine->kind,
    };
    for (unsigned word = 0; word < 4; word++) {
        unsigned rest = blocks > 64 * word ? blocks - 64 * word : 0;
        pool->map[word] = rest >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << rest) - 1;
    }
    if (arena->dirty_pools >> page & 1)
        clear_headers(pool);
    arena->dirty_pools |= UINT64_C(1) << page;
    arena->assigned++;
    heap->pools++;
    heap->empty_pools++;
    magazine->pools++;
    magazine->empty_pools++;
    link_pool(magazine, pool);
    return pool;
}

static void
unassign_pool(po_heap *heap, struct po_magazine *magazine, struct po_pool *pool)
{
    struct po_arena *arena = (struct po_arena *)pm_arena_of(pool);
    if (PM_UNLIKELY(arena->mixed))
        return;
    unlink_pool(magazine, pool);
    pool->units = 0;
    arena->assigned--;
    heap->pools--;
    heap->empty_pools--;
    magazine->pools--;
    magazine->empty_pools--;
    free_pools(heap, arena, UINT64_C(1) << po_page_of(pool_memory(pool)));
}

/* ---- Magazines ---- */

static struct po_magazine *
make_magazine(po_heap *heap, unsigned kind, unsigned units)
{
    if ((char *)heap->magazine_memory + MAGAZINE_BYTES > (char *)heap->magazine_end) {
        /* The chunks are linked by their last word, for po_store_destroy. */
        char *chunk = po_map(MAGAZINE_CHUNK);
        if (chunk == NULL)
            return NULL;
        void **link = (void **)(chunk + MAGAZINE_CHUNK) - 1;
        *link = heap->magazine_end;
        heap->magazine_memory = (struct po_magazine *)chunk;
        heap->magazine_end = (struct po_magazine *)link;
    }
    struct po_magazine *magazine = heap->magazine_memory;
    heap->magazine_memory = (struct po_magazine *)((char *)magazine + MAGAZINE_BYTES);
    magazine->top = magazine->bottom = (void **)(magazine + 1);
    magazine->end = magazine->bottom + SLOTS;
    magazine->kind = (uint8_t)kind;
    magazine->units = (uint8_t)units;
    magazine->start = kind & (PO_KIND_ITEMS | PO_KIND_ALIGN_16) ? 16 : 8;
    heap->magazines[kind][units] = magazine;
    return magazine;
}

struct po_magazine *
po_store_magazine(po_heap *heap, size_t bytes, unsigned kind, bool *large)
{
    size_t prefix = kind & PO_KIND_ITEMS ? 16 : 8;
    /* The payload of an empty object, too, begins inside its own block. */
    size_t size = pm_round_up(prefix + (bytes > 8 ? bytes : 8), kind & PO_KIND_ALIGN_16 ? 16 : 8);
    *large = size > PO_BLOCK_MAX;
    if (*large)
        return NULL;
    struct po_magazine *magazine = heap->magazines[kind][size / 8];
    return magazine != NULL ? magazine : make_magazine(heap, kind, (unsigned)(size / 8));
}

/* Takes up to `wanted` free blocks of the pool, lowest first, and stores them downwards from end[-1]. */
static unsigned
take_blocks(struct po_pool *pool, void **end, unsigned wanted)
{
    unsigned taken = 0;
    size_t size = (size_t)pool->units * 8;
    char *objects = pool_memory(pool) + pool->start;
    for (unsigned word = 0; word < 4 && taken < wanted; word++) {
        uint64_t bits = pool->map[word];
        for (; bits != 0 && taken < wanted; bits &= bits - 1)
            end[-(ptrdiff_t)++taken] = objects + (word * 64 + (unsigned)__builtin_ctzll(bits)) * size;
        pool->map[word] = bits;
    }
    pool->free_count = (uint16_t)(pool->free_count - taken);
    return taken;
}

bool
po_store_refill(po_heap *heap, struct po_magazine *magazine)
{
    if (PM_UNLIKELY(atomic_load_explicit(&heap->remote, memory_order_relaxed) != NULL)) {
        po_store_drain(heap);
        if (magazine->top != magazine->bottom)
            return true;
    }
    unsigned taken = 0;
    void **end = magazine->bottom + BATCH;
    while (taken < BATCH) {
        struct po_pool *pool = magazine->first;
        if (pool == NULL && (taken != 0 || (pool = assign_pool(heap, magazine)) == NULL))
            break;
        bool empty = pool->free_count == pool->block_count;
        taken += take_blocks(pool, end - taken, BATCH - taken);
        heap->empty_pools -= empty;
        magazine->empty_pools -= empty;
        if (pool->free_count == 0)
            unlink_pool(magazine, pool);
    }
    memmove(magazine->bottom, end - taken, taken * sizeof(void *));
    magazine->top = magazine->bottom + taken;
    heap->used_bytes += (size_t)taken * magazine->units * 8;
    po_collect_pace(heap);
    return taken != 0;
}

static void
give_block(po_heap *heap, struct po_magazine *magazine, void *object)
{
    struct po_pool *pool = po_pool_in(po_arena_at(object), po_page_of(object));
    size_t offset = (uintptr_t)object % PM_POOL_SIZE - pool->start;
    unsigned index = pm_block_index(pool->reciprocal, offset);
    pool->map[index / 64] |= UINT64_C(1) << (index % 64);
    if (pool->free_count++ == 0)
        link_pool(magazine, pool);
    if (pool->free_count == pool->block_count) {
        heap->empty_pools++;
        magazine->empty_pools++;
    }
}

static void
give_blocks(po_heap *heap, struct po_magazine *magazine, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        give_block(heap, magazine, magazine->bottom[i]);
    unsigned left = (unsigned)(magazine->top - magazine->bottom) - count;
    memmove(magazine->bottom, magazine->bottom + count, left * sizeof(void *));
    magazine->top = magazine->bottom + left;
    heap->used_bytes -= (size_t)count * magazine->units * 8;
}

PM_NOINLINE void
po_store_flush(po_heap *heap, struct po_magazine *magazine)
{
    give_blocks(heap, magazine, SLOTS / 2);
    if (PM_UNLIKELY(heap->empty_pools > KEEP_POOLS + heap->pools / 8) && !heap->collecting) {
        po_young_compact(heap);
        po_store_trim(heap);
    }
}

/* ---- Giving memory back ---- */

/* The memory of an arena's free pools goes back to the kernel. */
static void
discard_free_pools(struct po_arena *arena)
{
    uint64_t bits = arena->free_pools & arena->dirty_pools;
    if (bits == 0 || (arena->huge && __builtin_popcountll(bits) < 8) || pm_os_page_size() > PM_POOL_SIZE)
        return;
    if (arena->huge)
        pm_region_break_huge_page((uintptr_t)arena);
    arena->huge = false;
    arena->dirty_pools &= ~bits;
    while (bits != 0) {
        struct pm_run run = pm_first_run(bits);
        pm_os_discard((char *)arena + run.first * PM_POOL_SIZE, run.count * PM_POOL_SIZE);
        bits &= ~pm_run_bits(run);
    }
}

static void
trim_magazine(po_heap *heap, struct po_magazine *magazine)
{
    for (struct po_pool *pool = magazine->first, *next; pool != NULL && magazine->empty_pools != 0; pool = next) {
        next = pool->next;
        if (pool->free_count == pool->block_count)
            unassign_pool(heap, magazine, pool);
    }
    drop_run(heap, magazine);
}

void
po_store_trim(po_heap *heap)
{
    for (unsigned kind = 0; kind < PO_KINDS; kind++)
        for (unsigned units = 0; units < PO_UNITS; units++)
            if (heap->magazines[kind][units] != NULL)
                trim_magazine(heap, heap->magazines[kind][units]);
    for (uint32_t slot = 0; slot < heap->arena_count; slot++) {
        struct po_arena *arena = heap->arenas[slot];
        if (arena == NULL || arena->heap != heap || arena->free_pools == 0)
            continue;
        if (arena->assigned == 0 && !arena->mixed)
            return_arena(heap, arena);
        else
            discard_free_pools(arena);
    }
}

/* The last heap that has objects in an arena returns it. */
static void
leave_arena(po_heap *heap, struct po_arena *arena)
{
    if (!arena->mixed) {
        return_arena(heap, arena);
        return;
    }
    pm_lock_acquire(&po_mixed_lock);
    if (arena->heap == heap) {
        arena->heap = NULL;
        *po_place_of(arena) = (struct po_place){NULL, 0, false};
    } else {
        arena->guests--;
    }
    bool last = arena->heap == NULL && arena->guests == 0;
    pm_lock_release(&po_mixed_lock);
    if (last)
        pm_region_return_arena((uintptr_t)arena);
}

void
po_store_destroy(po_heap *heap)
{
    for (uint32_t i = 0; i < heap->large_count; i++)
        if (((uintptr_t)heap->large[i] & 1) == 0)
            free(heap->large[i]);
    po_unmap(heap->large, (size_t)heap->large_capacity * sizeof(void *));
    for (uint32_t slot = 0; slot < heap->arena_count; slot++)
        if (heap->arenas[slot] != NULL)
            leave_arena(heap, heap->arenas[slot]);
    po_unmap(heap->arenas, (size_t)heap->arena_capacity * sizeof(void *));
    for (void **link = (void **)heap->magazine_end; link != NULL;) {
        void **next = *link;
        po_unmap((char *)(link + 1) - MAGAZINE_CHUNK, MAGAZINE_CHUNK);
        link = next;
    }
    po_unmap(heap->frozen_bits, (size_t)heap->frozen_slots << (PO_SLOT_SHIFT - 3));
}

/* ---- Large objects ---- */

bool
po_store_find_large(po_heap *heap, uint32_t *index)
{
    if (heap->large_free != 0) {
        /* The entries that are free hold the number of the next one, plus 1, times 2, plus 1. */
        *index = heap->large_free - 1;
        heap->large_free = (uint32_t)((uintptr_t)heap->large[*index] >> 1);
        return true;
    }
    struct po_array array = {(void **)heap->large, heap->large_count, heap->large_capacity};
    if (heap->large_count >= LARGE_MAX || !po_array_push(&array, (void *)1))
        return false;
    heap->large = (struct po_large **)array.items;
    heap->large_capacity = (uint32_t)array.capacity;
    *index = heap->large_count++;
    return true;
}

void
po_store_forget_large(po_heap *heap, uint32_t index)
{
    heap->large[index] = (struct po_large *)(((uintptr_t)heap->large_free << 1) | 1);
    heap->large_free = index + 1;
}

void *
po_store_large(po_heap *heap, size_t bytes)
{
    uint32_t index;
    if (PM_UNLIKELY(atomic_load_explicit(&heap->remote, memory_order_relaxed) != NULL))
        po_store_drain(heap);
    size_t whole = sizeof(struct po_large) + bytes;
    size_t held = po_store_held(heap);
    if (heap->memory_limit != 0 && (held > heap->memory_limit || whole > heap->memory_limit - held))
        return NULL;
    if (!po_memory_allowed() || !po_store_find_large(heap, &index))
        return NULL;
    struct po_large *large = calloc(1, whole);
    if (large == NULL) {
        po_store_forget_large(heap, index);
        return NULL;
    }
    large->index = index;
    heap->large[index] = large;
    heap->large_alive++;
    heap->large_bytes += whole;
    heap->used_bytes += whole;
    po_collect_pace(heap);
    return large + 1;
}

static size_t
large_bytes(const void *object, const po_type *type)
{
    return sizeof(struct po_large) + type->size + po_large_of(object)->items * type->item_size +
           (type == type->heap->string_type);
}

void
po_store_free_large(po_heap *heap, void *object)
{
    struct po_large *large = po_large_of(object);
    size_t bytes = large_bytes(object, po_type_in(object));
    po_store_forget_large(heap, large->index);
    heap->large_alive--;
    heap->large_bytes -= bytes;
    heap->used_bytes -= bytes;
    free(large);
}

/* ---- From other threads ---- */

void
po_store_free_remote(po_heap *heap, void *object, bool large)
{
    /* A large object keeps its header, by which its bytes are known, and is told from others by the link's lowest
     * bit. */
    if (!large)
        __atomic_store_n(&po_header(object)->info, 0, __ATOMIC_RELEASE);
    void *link = large ? (char *)object + 1 : object;
    void *first = atomic_load_explicit(&heap->remote, memory_order_relaxed);
    do
        *(void **)object = first;
    while (!atomic_compare_exchange_weak_explicit(&heap->remote, &first, link, memory_order_release,
                                                  memory_order_relaxed));
}

void
po_store_drain(po_heap *heap)
{
    char *link = atomic_exchange_explicit(&heap->remote, NULL, memory_order_acquire);
    while (link != NULL) {
        bool large = (uintptr_t)link & 1;
        char *object = link - large;
        link = *(char **)object;
        if (large)
            po_store_free_large(heap, object);
        else
            po_store_free(heap, po_store_magazine_of(heap, object), object);
    }
}

/* ---- Sizes and addresses ---- */

size_t
po_store_held(const po_heap *heap)
{
    return heap->pools * PM_POOL_SIZE + heap->large_bytes;
}

size_t
po_store_bytes(const void *object)
{
    if (po_has_flag(object, PO_LARGE))
        return large_bytes(object, po_type_in(object));
    return (size_t)po_pool_in(po_arena_at(object), po_page_of(object))->units * 8;
}

void *
po_object_at_granule(const struct po_arena *arena, unsigned granule)
{
    char *address = (char *)arena + (size_t)granule * 16;
    const struct po_pool *pool = po_pool_in(arena, po_page_of(address));
    size_t offset = (uintptr_t)address % PM_POOL_SIZE - pool->start;
    size_t size = (size_t)pool->units * 8;
    /* A granule has two places for an object, and one object at most. */
    return (uintptr_t)address % PM_POOL_SIZE >= pool->start &&
                   pm_block_index(pool->reciprocal, offset) * size == offset
               ? address
               : address + 8;
}

bool
po_store_is_object(const po_heap *heap, const void *word)
{
    const struct po_place *place = po_place_of(word);
    if (place == NULL) {
        for (uint32_t i = 0; i < heap->large_count; i++)
            if (((uintptr_t)heap->large[i] & 1) == 0 && heap->large[i] + 1 == word)
                return heap->large[i]->header.info != 0;
        return false;
    }
    const struct po_arena *arena = po_arena_at(word);
    unsigned page = po_page_of(word);
    if (place->heap != heap || page == 0 || (arena->free_pools >> page & 1) != 0)
        return false;
    const struct po_pool *pool = po_pool_in(arena, page);
    size_t at = (uintptr_t)word % PM_POOL_SIZE;
    if (pool->units == 0 || at < pool->start || (at - pool->start) % (pool->units * 8u) != 0 ||
        (at - pool->start) / (pool->units * 8u) >= pool->block_count)
        return false;
    uint32_t info = po_read_info(po_header(word));
    return info != 0 && !(info & PO_DYING) && po_type_at(info) != NULL && po_type_at(info)->heap == heap;
}
