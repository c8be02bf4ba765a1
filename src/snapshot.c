/* SPDX-License-Identifier: MIT */
#include "snapshot.h"

#include <string.h>

/* No process has more heaps, one for each of its threads; a longer list is no list. */
#define HEAPS_MAX ((size_t)1 << 22)

static bool
fetch(const struct pm_reader *reader, const void *address, void *buffer, size_t size)
{
    return reader->read(reader->context, (uintptr_t)address, buffer, size);
}

/* Inside of something in the memory that is read. It may be damaged: such a pointer is a number here. */
static const void *
inside(const void *start, size_t offset)
{
    return (const void *)((uintptr_t)start + offset);
}

static unsigned
bits_in(uint64_t word)
{
    return (unsigned)__builtin_popcountll(word);
}

/* ---- The root ---- */

/* The version is what another process says, and goes to terminals and into JSON as it is. */
static void
make_printable(char version[sizeof ((struct pm_root *)0)->version])
{
    version[sizeof ((struct pm_root *)0)->version - 1] = '\0';
    for (char *character = version; *character != '\0'; character++)
        if (*character <= ' ' || *character > '~' || *character == '"' || *character == '\\')
            *character = '?';
}

enum pm_snapshot_result
pm_snapshot_root(const struct pm_reader *reader, uintptr_t address, struct pm_root *root)
{
    memset(root, 0, sizeof *root);
    /* The root of another layout may be shorter: first what all of them have. */
    if (!fetch(reader, (const void *)address, root, offsetof(struct pm_root, pool_shift)))
        return PM_SNAPSHOT_UNREADABLE;
    make_printable(root->version);
    if (memcmp(root->magic, PM_ROOT_MAGIC, sizeof root->magic) != 0)
        return PM_SNAPSHOT_NO_ROOT;
    if (root->layout != PM_ROOT_LAYOUT || root->root_bytes != sizeof *root ||
        root->fingerprint != PM_ROOT_FINGERPRINT)
        return PM_SNAPSHOT_OTHER;
    if (!fetch(reader, (const void *)address, root, sizeof *root))
        return PM_SNAPSHOT_UNREADABLE;
    make_printable(root->version);
    if (root->pool_shift != PM_POOL_SHIFT || root->arena_shift != PM_ARENA_SHIFT ||
        root->chunk_shift != PM_CHUNK_SHIFT || root->class_count != PM_CLASS_LAST)
        return PM_SNAPSHOT_OTHER;
    return PM_SNAPSHOT_TAKEN;
}

/* The region as it is while it is read. */
struct region {
    struct pm_region range;
    struct pm_region_books books;
    unsigned chunks; /* committed */
};

static bool
read_region(const struct pm_reader *reader, const struct pm_root *root, struct region *region,
            struct pm_region_counts *counts)
{
    if (!fetch(reader, root->region, &region->range, sizeof region->range) ||
        !fetch(reader, root->books, &region->books, sizeof region->books) ||
        !fetch(reader, region->books.committed_chunks, &region->chunks, sizeof region->chunks) ||
        !fetch(reader, region->books.counts, counts, sizeof *counts))
        return false;
    size_t most = (region->range.size + PM_CHUNK_SIZE - 1) >> PM_CHUNK_SHIFT;
    most = most < PM_CHUNK_MAX ? most : PM_CHUNK_MAX;
    region->chunks = region->chunks < most ? region->chunks : (unsigned)most;
    return true;
}

static const struct pm_heap *
first_heap(const struct pm_reader *reader, const struct pm_root *root)
{
    struct pm_heap *const *where;
    const struct pm_heap *heap;
    if (!fetch(reader, root->heaps, &where, sizeof where) || !fetch(reader, where, &heap, sizeof heap))
        return NULL;
    return heap;
}

enum pm_snapshot_result
pm_snapshot_measure(const struct pm_reader *reader, uintptr_t root_address, size_t *arenas, size_t *heaps)
{
    struct pm_root root;
    struct region region;
    struct pm_region_counts counts;
    enum pm_snapshot_result result = pm_snapshot_root(reader, root_address, &root);
    if (result != PM_SNAPSHOT_TAKEN)
        return result;
    if (!read_region(reader, &root, &region, &counts))
        return PM_SNAPSHOT_UNREADABLE;
    *arenas = (size_t)region.chunks * PM_CHUNK_ARENAS;
    *heaps = 0;
    const struct pm_heap *heap = first_heap(reader, &root);
    while (heap != NULL && *heaps < HEAPS_MAX) {
        ++*heaps;
        if (!fetch(reader, inside(heap, offsetof(struct pm_heap, next)), &heap, sizeof heap))
            break;
    }
    return PM_SNAPSHOT_TAKEN;
}

/* ---- Heaps ---- */

/* Which of `count` pages from `address` on, at most 64, are in memory. */
static uint64_t
residents(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t address, size_t count)
{
    uint64_t pages = 0;
    if (!snapshot->residence_known)
        return 0;
    if (reader->resident == NULL || !reader->resident(reader->context, address, &pages)) {
        snapshot->residence_known = false;
        return 0;
    }
    return count < 64 ? pages & ((UINT64_C(1) << count) - 1) : pages;
}

static size_t
resident_bytes(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t address, size_t bytes)
{
    size_t count = 0, pages = (bytes + PM_POOL_SIZE - 1) >> PM_POOL_SHIFT;
    for (size_t done = 0; done < pages; done += 64)
        count += bits_in(residents(reader, snapshot, address + done * PM_POOL_SIZE, pages - done));
    return count * PM_POOL_SIZE;
}

static void
add_magazines(struct pm_snapshot *snapshot, const struct pm_heap *heap, struct pm_heap_row *row)
{
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        const struct pm_magazine *magazine = &heap->magazines[number];
        uintptr_t base = (uintptr_t)magazine->limit - magazine->capacity * sizeof(void *);
        size_t count = ((uintptr_t)magazine->top - base) / sizeof(void *);
        if (count > pm_magazine_capacity(number) << PM_MAGAZINE_DOUBLINGS)
            continue; /* read while it grew */
        size_t bytes = count * pm_magazine_block_size(number);
        if (number <= PM_CLASS_LAST) {
            snapshot->classes[number].blocks_magazine += count;
            row->magazine_blocks += count;
            row->magazine_bytes += bytes;
        } else {
            row->system_magazine_blocks += count;
            row->system_magazine_bytes += bytes;
        }
    }
}

static void
add_counts(struct pm_snapshot *snapshot, const struct pm_heap *heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_counts *from = &heap->classes[class].counts;
        struct pm_class_counts *to = &snapshot->classes[class].counts;
        to->refilled += from->refilled;
        to->flushed += from->flushed;
        to->flushed_remote += from->flushed_remote;
        to->refills += from->refills;
        to->flushes += from->flushes;
    }
}

static void
add_heap(const struct pm_reader *reader, struct pm_snapshot *snapshot, const struct pm_heap *address)
{
    const struct pm_heap *heap = (const struct pm_heap *)snapshot->work.heap;
    struct pm_heap_row *row = &snapshot->heap_rows[snapshot->heaps++];
    *row = (struct pm_heap_row){
        .address = (uintptr_t)address,
        .parked = heap->state == PM_HEAP_PARKED,
        .system_allocations = heap->system_allocations,
        .system_bytes = heap->system_bytes,
    };
    unsigned slots = heap->slots_used < heap->slots_count ? heap->slots_used : heap->slots_count;
    row->table_bytes = sizeof *heap + slots * sizeof(void *);
    size_t bytes = sizeof *heap + heap->slots_count * sizeof(void *);
    if (bytes < PM_CHUNK_SIZE)
        row->resident_bytes = resident_bytes(reader, snapshot, (uintptr_t)address, bytes);
    snapshot->heaps_parked += row->parked;
    add_magazines(snapshot, heap, row);
    add_counts(snapshot, heap);
}

/* The list only grows, at its head, and a heap's own link never changes. */
static void
add_heaps(const struct pm_reader *reader, struct pm_snapshot *snapshot, const struct pm_root *root)
{
    const struct pm_heap *heap = first_heap(reader, root);
    while (heap != NULL) {
        if (snapshot->heaps == snapshot->heap_room ||
            !fetch(reader, heap, snapshot->work.heap, sizeof snapshot->work.heap)) {
            snapshot->incomplete = true;
            return;
        }
        add_heap(reader, snapshot, heap);
        heap = ((const struct pm_heap *)snapshot->work.heap)->next;
    }
}

/* ---- Arenas ---- */

/* How many blocks of a pool are free, in the copied map. */
static unsigned
free_blocks(const struct pm_snapshot_work *work, unsigned index, unsigned class)
{
    const struct pm_pool *pool = (const struct pm_pool *)(work->descriptors + index * PM_DESCRIPTOR_SIZE);
    const uint64_t *map = class == PM_CLASS_WIDE ? work->wide_maps + index * PM_WIDE_MAP_WORDS : pool->map;
    unsigned blocks = pm_class_blocks(class), count = 0;
    for (unsigned first = 0; first < blocks; first += 64) {
        uint64_t word = map[first / 64];
        if (word == 0)
            continue; /* most pools are full */
        count += bits_in(blocks - first < 64 ? word & ((UINT64_C(1) << (blocks - first)) - 1) : word);
    }
    return count;
}

/* The arena's descriptors are copied already; `classes` is its part of the page map. */
static struct pm_pool_row
pool_row(const struct pm_snapshot_work *work, unsigned index, const uint8_t *classes)
{
    const struct pm_arena *arena = (const struct pm_arena *)work->descriptors;
    const struct pm_pool *pool = (const struct pm_pool *)(work->descriptors + index * PM_DESCRIPTOR_SIZE);
    struct pm_pool_row row = {.dirty = (arena->dirty_pools & pm_arena_bit(index)) != 0};
    unsigned class = classes[index];
    if (index == 0) {
        row.state = PM_POOL_DESCRIPTORS;
        row.dirty = true;
    } else if (arena->free_pools & pm_arena_bit(index)) {
        row.state = row.dirty ? PM_POOL_FREE_DIRTY : PM_POOL_FREE;
    } else if (index == arena->wide_maps) {
        row.state = PM_POOL_MAPS;
    } else if (class == 0 || class > PM_CLASS_LAST || pool->class != class) {
        row.state = PM_POOL_RESERVED;
    } else {
        row.state = PM_POOL_ASSIGNED;
        row.class = (uint8_t)class;
        row.blocks = (uint16_t)pm_class_blocks(class);
        row.free = (uint16_t)free_blocks(work, index, class);
    }
    return row;
}

/* Copies the arena's descriptors and makes its rows. */
static bool
read_pools(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t address, const uint8_t *classes,
           struct pm_pool_row rows[PM_ARENA_POOLS])
{
    struct pm_snapshot_work *work = &snapshot->work;
    const struct pm_arena *arena = (const struct pm_arena *)work->descriptors;
    if (!fetch(reader, (const void *)address, work->descriptors, sizeof work->descriptors))
        return false;
    unsigned maps = arena->wide_maps;
    if (maps != 0 && (maps >= PM_ARENA_POOLS || !fetch(reader, (const void *)(address + maps * PM_POOL_SIZE),
                                                       work->wide_maps, sizeof work->wide_maps)))
        memset(work->wide_maps, 0, sizeof work->wide_maps);
    uint64_t pages = residents(reader, snapshot, address, 64);
    for (unsigned index = 0; index < PM_ARENA_POOLS; index++) {
        rows[index] = pool_row(work, index, classes);
        rows[index].resident = snapshot->residence_known ? pages >> index & 1 : rows[index].dirty;
    }
    return true;
}

static void
add_pools(struct pm_snapshot *snapshot, struct pm_arena_row *to, const struct pm_pool_row rows[PM_ARENA_POOLS])
{
    for (unsigned index = 0; index < PM_ARENA_POOLS; index++) {
        const struct pm_pool_row *pool = &rows[index];
        to->pools[pool->state]++;
        to->resident[pool->state] += pool->resident;
        if (pool->state != PM_POOL_ASSIGNED)
            continue;
        struct pm_class_row *class = &snapshot->classes[pool->class];
        class->pools++;
        class->blocks_free += pool->free;
        class->resident_pools += pool->resident;
        class->resident_free += pool->resident ? pool->free : 0;
        to->free_bytes += (uint32_t)(pool->free * pm_class_size(pool->class));
        to->taken_bytes += (uint32_t)((pool->blocks - pool->free) * pm_class_size(pool->class));
    }
}

static void
credit_heap(struct pm_snapshot *snapshot, const struct pm_arena_row *arena)
{
    for (size_t i = 0; i < snapshot->heaps; i++) {
        if (snapshot->heap_rows[i].address != arena->heap)
            continue;
        snapshot->heap_rows[i].arenas++;
        snapshot->heap_rows[i].pools += arena->pools[PM_POOL_ASSIGNED];
        return;
    }
}

static void
add_arena(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t address, const uint8_t *classes)
{
    struct pm_pool_row rows[PM_ARENA_POOLS];
    if (snapshot->arenas == snapshot->arena_room) {
        snapshot->incomplete = true;
        return;
    }
    if (!read_pools(reader, snapshot, address, classes, rows))
        return; /* it left since the chunk's word was read */
    struct pm_arena_row *row = &snapshot->arena_rows[snapshot->arenas++];
    *row = (struct pm_arena_row){
        .address = address, .heap = (uintptr_t)((const struct pm_arena *)snapshot->work.descriptors)->heap};
    add_pools(snapshot, row, rows);
    credit_heap(snapshot, row);
}

static void
add_chunk(const struct pm_reader *reader, struct pm_snapshot *snapshot, const struct region *region, unsigned chunk)
{
    uint64_t free_arenas, dirty_arenas;
    uintptr_t start = region->range.base + ((uintptr_t)chunk << PM_CHUNK_SHIFT);
    uintptr_t end = region->range.base + region->range.size;
    uintptr_t map_page = region->range.base + (uintptr_t)chunk * PM_POOL_SIZE;
    if (start + PM_CHUNK_SIZE <= region->range.arenas)
        return; /* all of it is the page map */
    size_t word = chunk * sizeof free_arenas;
    if (!fetch(reader, inside(region->books.free_arenas, word), &free_arenas, sizeof free_arenas) ||
        !fetch(reader, inside(region->books.dirty_arenas, word), &dirty_arenas, sizeof dirty_arenas) ||
        !fetch(reader, (const void *)map_page, snapshot->work.page_map, PM_POOL_SIZE))
        return;
    snapshot->page_map_resident_bytes += bits_in(residents(reader, snapshot, map_page, 1)) * PM_POOL_SIZE;
    for (unsigned i = 0; i < PM_CHUNK_ARENAS; i++) {
        uintptr_t arena = start + ((uintptr_t)i << PM_ARENA_SHIFT);
        if (arena < region->range.arenas || arena + PM_ARENA_SIZE > end)
            continue;
        if (!(free_arenas >> i & 1)) {
            add_arena(reader, snapshot, arena, snapshot->work.page_map + i * PM_ARENA_POOLS);
        } else if (dirty_arenas >> i & 1) {
            snapshot->free_arenas_dirty++;
            snapshot->free_arenas_resident_bytes += bits_in(residents(reader, snapshot, arena, 64)) * PM_POOL_SIZE;
        }
    }
}

/* ---- All of it ---- */

static void
close_classes(const struct pm_reader *reader, struct pm_snapshot *snapshot, const struct pm_root *root)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_class_row *row = &snapshot->classes[class];
        struct pm_requests requests;
        row->block_bytes = pm_class_size(class);
        size_t taken = row->pools * pm_class_blocks(class) - row->blocks_free;
        if (row->blocks_magazine > taken)
            row->blocks_magazine = taken; /* magazines were read earlier than pools */
        row->blocks_in_use = taken - row->blocks_magazine;
        if (fetch(reader, inside(root->requests, class * sizeof requests), &requests, sizeof requests)) {
            row->requests = requests.count;
            row->requested_bytes = requests.bytes;
        }
    }
}

enum pm_snapshot_result
pm_snapshot_take(const struct pm_reader *reader, uintptr_t root_address, struct pm_snapshot *snapshot)
{
    struct pm_root root;
    struct region region;
    size_t room = offsetof(struct pm_snapshot, version);
    memset((char *)snapshot + room, 0, offsetof(struct pm_snapshot, work) - room);
    snapshot->residence_known = reader->resident != NULL;
    enum pm_snapshot_result result = pm_snapshot_root(reader, root_address, &root);
    memcpy(snapshot->version, root.version, sizeof snapshot->version);
    if (result != PM_SNAPSHOT_TAKEN)
        return result;
    if (!read_region(reader, &root, &region, &snapshot->counts) ||
        !fetch(reader, inside(root.options, offsetof(struct pm_options, alignment)), &snapshot->alignment,
               sizeof snapshot->alignment) ||
        !fetch(reader, inside(root.options, offsetof(struct pm_options, check)), &snapshot->check,
               sizeof snapshot->check))
        return PM_SNAPSHOT_UNREADABLE;
    snapshot->region = region.range;
    add_heaps(reader, snapshot, &root);
    for (unsigned chunk = 0; chunk < region.chunks; chunk++)
        add_chunk(reader, snapshot, &region, chunk);
    close_classes(reader, snapshot, &root);
    /* The counts were read first, and arenas may have been taken since. */
    if (snapshot->counts.arenas_peak < snapshot->arenas)
        snapshot->counts.arenas_peak = snapshot->arenas;
    return PM_SNAPSHOT_TAKEN;
}

bool
pm_snapshot_pools(const struct pm_reader *reader, struct pm_snapshot *snapshot, uintptr_t arena,
                  struct pm_pool_row rows[PM_ARENA_POOLS])
{
    uint8_t classes[PM_ARENA_POOLS];
    uintptr_t bytes = snapshot->region.base + ((arena - snapshot->region.base) >> PM_POOL_SHIFT);
    return fetch(reader, (const void *)bytes, classes, sizeof classes) &&
           read_pools(reader, snapshot, arena, classes, rows);
}

void
pm_snapshot_sum(const struct pm_snapshot *snapshot, struct pm_sums *sums)
{
    *sums = (struct pm_sums){0};
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_row *row = &snapshot->classes[class];
        sums->live_bytes += row->blocks_in_use * row->block_bytes;
        sums->magazine_bytes += row->blocks_magazine * row->block_bytes;
        sums->free_bytes += row->blocks_free * row->block_bytes;
        sums->remainder_bytes += row->pools * (PM_POOL_SIZE - pm_class_blocks(class) * row->block_bytes);
        sums->counts.refilled += row->counts.refilled;
        sums->counts.flushed += row->counts.flushed;
        sums->counts.flushed_remote += row->counts.flushed_remote;
        sums->counts.refills += row->counts.refills;
        sums->counts.flushes += row->counts.flushes;
        sums->rounding_bytes += pm_snapshot_rounding(row);
    }
    for (size_t i = 0; i < snapshot->arenas; i++)
        for (unsigned state = 0; state < PM_POOL_STATES; state++)
            sums->pools[state] += snapshot->arena_rows[i].pools[state];
    for (size_t i = 0; i < snapshot->heaps; i++) {
        const struct pm_heap_row *row = &snapshot->heap_rows[i];
        sums->system_allocations += row->system_allocations;
        sums->system_bytes += row->system_bytes;
        sums->system_magazine_blocks += row->system_magazine_blocks;
        sums->system_magazine_bytes += row->system_magazine_bytes;
        sums->heap_table_bytes += row->table_bytes;
    }
    sums->arena_table_bytes = snapshot->arenas * (PM_POOL_SIZE + PM_ARENA_POOLS);
}
