/* SPDX-License-Identifier: MIT */
#include "region.h"

#include "os.h"

/* On a line of its own: every free reads it, nothing near it may be written. */
struct pm_region pm_region __attribute__((aligned(PM_CACHE_LINE)));
struct pm_lock pm_region_lock;

/* Bit i of word c is arena i of chunk c. Arenas under the page map are never free. */
static uint64_t free_arenas[PM_CHUNK_MAX];
static uint64_t dirty_arenas[PM_CHUNK_MAX];
static uint64_t aged_arenas[PM_CHUNK_MAX]; /* dirty at the last purge, and not taken since */
static unsigned committed_chunks; /* this many from the start of the region */
static unsigned lowest_chunk;     /* no chunk below it has a free arena */
static uintptr_t first_arena;
static struct pm_region_counts counts;

const struct pm_region_books pm_region_books = {free_arenas, dirty_arenas, &committed_chunks, &first_arena, &counts};

static size_t
size_to_try_first(void)
{
    size_t size = PM_REGION_MAX;
    size_t memory = pm_os_memory_bytes();
    while (memory != 0 && size / 2 >= 4 * memory && size > (size_t)64 << 30)
        size /= 2;
    /* Reserved addresses count against this limit, and the program needs them too. */
    while (size > pm_os_address_space_limit() / 4)
        size /= 2;
    return size;
}

void
pm_region_init(size_t size)
{
    size = size != 0 ? size & ~(PM_REGION_ALIGNMENT - 1) : size_to_try_first();
    for (; size >= PM_REGION_MIN; size = (size / 2) & ~(PM_REGION_ALIGNMENT - 1)) {
        char *base = pm_os_reserve(size, PM_REGION_ALIGNMENT);
        if (base == NULL)
            continue;
        first_arena = (uintptr_t)base + pm_round_up(size >> PM_POOL_SHIFT, PM_ARENA_SIZE);
        /* For wrong pointers into parts of the region that are not in use yet: their byte reads as "no blocks there". */
        pm_os_allow_reading(base, size >> PM_POOL_SHIFT);
        counts.reserved_bytes = size;
        pm_region.base = (uintptr_t)base;
        pm_region.size = size;
        return;
    }
}

static unsigned
chunk_of(uintptr_t address)
{
    return (unsigned)((address - pm_region.base) >> PM_CHUNK_SHIFT);
}

static uint64_t
bit_of(uintptr_t arena)
{
    return UINT64_C(1) << (((arena - pm_region.base) >> PM_ARENA_SHIFT) % PM_CHUNK_ARENAS);
}

/* The arenas of a chunk, from the first to behind the last; the page map and the region's end may leave fewer than 64. */
struct arenas {
    uintptr_t start, end;
    uint64_t bits;
};

static struct arenas
arenas_of(unsigned chunk)
{
    uintptr_t start = pm_region.base + ((uintptr_t)chunk << PM_CHUNK_SHIFT);
    uintptr_t end = start + PM_CHUNK_SIZE, region_end = pm_region.base + pm_region.size;
    start = start < first_arena ? first_arena : start;
    end = end > region_end ? region_end & ~(PM_ARENA_SIZE - 1) : end;
    if (start >= end)
        return (struct arenas){0};
    uint64_t bits = ~UINT64_C(0) >> (PM_CHUNK_ARENAS - ((end - start) >> PM_ARENA_SHIFT));
    return (struct arenas){start, end, bits * bit_of(start)};
}

static char *
map_page_of(unsigned chunk)
{
    return (char *)pm_region.base + (size_t)chunk * PM_POOL_SIZE;
}

/* Makes the next chunk usable: its page of the page map, and its arenas. */
static bool
commit_chunk(void)
{
    struct arenas arenas = arenas_of(committed_chunks);
    if (arenas.bits != 0) {
        if (!pm_os_commit(map_page_of(committed_chunks), PM_POOL_SIZE) ||
            !pm_os_commit((void *)arenas.start, arenas.end - arenas.start))
            return false;
        counts.committed_bytes += PM_POOL_SIZE + (arenas.end - arenas.start);
        counts.arenas_free += (size_t)__builtin_popcountll(arenas.bits);
        free_arenas[committed_chunks] = arenas.bits;
    }
    committed_chunks++;
    return true;
}

static unsigned
chunk_count(void)
{
    return (unsigned)((pm_region.size + PM_CHUNK_SIZE - 1) >> PM_CHUNK_SHIFT);
}

uintptr_t
pm_region_take_arena(bool *dirty)
{
    uintptr_t arena = 0;
    pm_lock_acquire(&pm_region_lock);
    while (lowest_chunk < chunk_count()) {
        if (lowest_chunk == committed_chunks && !commit_chunk())
            break;
        uint64_t word = free_arenas[lowest_chunk];
        if (word == 0) {
            lowest_chunk++;
            continue;
        }
        arena = pm_region.base + ((uintptr_t)lowest_chunk << PM_CHUNK_SHIFT) +
                ((uintptr_t)__builtin_ctzll(word) << PM_ARENA_SHIFT);
        free_arenas[lowest_chunk] = word & (word - 1);
        counts.arenas_free--;
        *dirty = (dirty_arenas[lowest_chunk] & bit_of(arena)) != 0;
        if (*dirty) {
            dirty_arenas[lowest_chunk] &= ~bit_of(arena);
            aged_arenas[lowest_chunk] &= ~bit_of(arena);
            counts.arenas_dirty--;
        }
        if (++counts.arenas > counts.arenas_peak)
            counts.arenas_peak = counts.arenas;
        break;
    }
    pm_lock_release(&pm_region_lock);
    return arena;
}

void
pm_region_return_arena(uintptr_t arena)
{
    pm_lock_acquire(&pm_region_lock);
    unsigned chunk = chunk_of(arena);
    free_arenas[chunk] |= bit_of(arena);
    dirty_arenas[chunk] |= bit_of(arena);
    counts.arenas--;
    counts.arenas_free++;
    counts.arenas_dirty++;
    if (chunk < lowest_chunk)
        lowest_chunk = chunk;
    pm_lock_release(&pm_region_lock);
}

/* Purges the arenas of a chunk, neighbours in one call. */
static void
purge_chunk(unsigned chunk, uint64_t bits)
{
    uintptr_t start = pm_region.base + ((uintptr_t)chunk << PM_CHUNK_SHIFT);
    dirty_arenas[chunk] &= ~bits;
    counts.arenas_dirty -= (size_t)__builtin_popcountll(bits);
    while (bits != 0) {
        struct pm_run run = pm_first_run(bits);
        pm_os_discard((void *)(start + run.first * PM_ARENA_SIZE), run.count * PM_ARENA_SIZE);
        bits &= ~pm_run_bits(run);
    }
}

bool
pm_region_purge(bool aged_only)
{
    bool purged = false;
    pm_lock_acquire(&pm_region_lock);
    for (unsigned chunk = 0; counts.arenas_dirty != 0 && chunk < committed_chunks; chunk++) {
        uint64_t bits = dirty_arenas[chunk] & (aged_only ? aged_arenas[chunk] : ~UINT64_C(0));
        if (bits != 0)
            purge_chunk(chunk, bits);
        purged |= bits != 0;
        aged_arenas[chunk] = dirty_arenas[chunk];
    }
    pm_lock_release(&pm_region_lock);
    return purged;
}

/* The page map keeps its page: it is one in 4096, and all zero. */
bool
pm_region_decommit(size_t wanted)
{
    bool done = false;
    pm_lock_acquire(&pm_region_lock);
    bool enough = counts.arenas_free >= wanted / PM_ARENA_SIZE;
    for (; enough && committed_chunks > 0; committed_chunks--) {
        unsigned chunk = committed_chunks - 1;
        struct arenas arenas = arenas_of(chunk);
        if (arenas.bits == 0 || free_arenas[chunk] != arenas.bits)
            break;
        pm_os_decommit((void *)arenas.start, arenas.end - arenas.start);
        counts.committed_bytes -= PM_POOL_SIZE + (arenas.end - arenas.start);
        counts.arenas_free -= (size_t)__builtin_popcountll(arenas.bits);
        counts.arenas_dirty -= (size_t)__builtin_popcountll(dirty_arenas[chunk]);
        free_arenas[chunk] = dirty_arenas[chunk] = aged_arenas[chunk] = 0;
        done = true;
    }
    pm_lock_release(&pm_region_lock);
    return done;
}

bool
pm_region_shrink(size_t wanted)
{
    if (pm_os_address_space_limit() == SIZE_MAX)
        return false;
    pm_lock_acquire(&pm_region_lock);
    size_t used = (size_t)committed_chunks << PM_CHUNK_SHIFT;
    size_t unused = pm_region.size > used ? pm_region.size - used : 0;
    bool shrunk = unused != 0 && wanted <= unused;
    if (shrunk) {
        /* Small requests need the system allocator to get some more at once. */
        size_t given = pm_round_up(wanted > unused / 2 ? wanted : unused / 2, PM_REGION_ALIGNMENT);
        given = given < unused ? given : unused;
        /* No block lies there, so it does not matter when the other threads' frees see the new size. */
        pm_region.size -= given;
        counts.reserved_bytes -= given;
        pm_os_unmap((void *)(pm_region.base + pm_region.size), given);
    }
    pm_lock_release(&pm_region_lock);
    return shrunk;
}

void
pm_region_counts(struct pm_region_counts *result)
{
    pm_lock_acquire(&pm_region_lock);
    *result = counts;
    pm_lock_release(&pm_region_lock);
}

bool
pm_region_arena_is_taken(uintptr_t arena)
{
    pm_lock_acquire(&pm_region_lock);
    bool taken = arena >= first_arena && chunk_of(arena) < committed_chunks &&
                 arena + PM_ARENA_SIZE <= pm_region.base + pm_region.size &&
                 !(free_arenas[chunk_of(arena)] & bit_of(arena));
    pm_lock_release(&pm_region_lock);
    return taken;
}

uintptr_t
pm_region_next_arena(uintptr_t arena)
{
    if (arena < first_arena)
        arena = first_arena;
    pm_lock_acquire(&pm_region_lock);
    uintptr_t end = pm_region.base + ((uintptr_t)committed_chunks << PM_CHUNK_SHIFT);
    pm_lock_release(&pm_region_lock);
    for (; arena + PM_ARENA_SIZE <= end; arena += PM_ARENA_SIZE)
        if (pm_region_arena_is_taken(arena))
            return arena;
    return 0;
}
