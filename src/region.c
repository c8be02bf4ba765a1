/* SPDX-License-Identifier: MIT */
#include "region.h"

#include "keep.h"
#include "os.h"

/* Free pools that the region keeps in any case: one arena; and the most that go back to the kernel in one go, 16
 * MiB. */
#define KEEP_BASE PM_ARENA_POOLS
#define PURGE_MAX (64 * PM_ARENA_POOLS)

#define HUGE_ARENAS ((unsigned)(PM_REGION_ALIGNMENT / PM_ARENA_SIZE)) /* 8 */
#define HUGE_BITS ((UINT64_C(1) << HUGE_ARENAS) - 1)
/* Programs may have some 65,000 mappings. */
#define HUGE_MAX 16384u

/* Regions of this size have addresses to spare. */
#define GAP_FROM ((size_t)1 << 30)

/* On a line of its own: every free reads it, nothing near it may be written. */
struct pm_region pm_region __attribute__((aligned(PM_CACHE_LINE)));
struct pm_lock pm_region_lock;

/* Bit i of word c is arena i of chunk c. Arenas under the page map are never free. */
static uint64_t free_arenas[PM_CHUNK_MAX];
static uint64_t dirty_arenas[PM_CHUNK_MAX];
/* Bit i of byte c is the huge page that holds the arenas 8 * i to 8 * i + 7 of chunk c. */
static uint8_t huge_pages[PM_CHUNK_MAX];   /* asked for */
static uint8_t broken_pages[PM_CHUNK_MAX]; /* they were, until parts of their memory went back */
static unsigned huge_count;                /* asked for, each a mapping at worst */
static struct pm_keep keep = {.base = KEEP_BASE};
static unsigned committed_chunks; /* this many from the start of the region */
static unsigned lowest_chunk;     /* no chunk below it has a free arena */
static size_t full_size;          /* what the region has places for */
static uintptr_t map_end;         /* of the part of the page map that is mapped */
static uint64_t may_grow_at;      /* after a refusal: when to try again */
static struct pm_region_counts counts;

const struct pm_region_books pm_region_books = {free_arenas, dirty_arenas, &committed_chunks, &counts};

/* Milliseconds. Where the region cannot grow, every other small request would try. */
#define GROWTH_PAUSE 100u

/* Of a limit on address space the region reserves this part at most: the program needs the other. */
#define LIMIT_SHARE 4

static size_t
size_to_try_first(void)
{
    size_t size = PM_REGION_MAX;
    size_t memory = pm_os_memory_bytes();
    while (memory != 0 && size / 2 >= 4 * memory && size > (size_t)64 << 30)
        size /= 2;
    while (size > pm_os_address_space_limit() / LIMIT_SHARE)
        size /= 2;
    return size;
}

/* Were the first arenas described by the first bytes of a page of the page map, then `free` would read a byte just
 * after the program wrote to the same offset in another page, the start of a pool. Processors take that for the same
 * address at first, and wait: a third of the time of a malloc and free of the first block in a pool. In the middle of
 * the page such meetings are rare. */
static size_t
gap_before_arenas(size_t size)
{
    return size >= GAP_FROM ? PM_CHUNK_SIZE / 2 : 0;
}

/* The region ends `size` bytes behind the base, the page map is mapped up to `map`. */
static void
set_end(size_t size, uintptr_t map)
{
    size_t arenas_size = pm_region.base + size - pm_region.arenas;
    map_end = map;
    pm_region.front = map_end - pm_region.base;
    pm_region.size = size;
    counts.reserved_bytes = map_end - pm_region.base + arenas_size;
    __atomic_store_n(&pm_region.granules, arenas_size >> PM_GRANULE_SHIFT, __ATOMIC_RELEASE);
}

void
pm_region_init(size_t size)
{
    size = size != 0 ? size & ~(PM_REGION_ALIGNMENT - 1) : size_to_try_first();
    for (; size >= PM_REGION_MIN; size = (size / 2) & ~(PM_REGION_ALIGNMENT - 1)) {
        char *base = pm_os_reserve(size, PM_REGION_ALIGNMENT);
        if (base == NULL)
            continue;
        /* For wrong pointers into parts of the region that are not in use yet: their byte reads as "no blocks
         * there". */
        if (!pm_os_allow_reading(base, size >> PM_POOL_SHIFT)) {
            pm_os_unmap(base, size);
            continue;
        }
        size_t before = pm_round_up(size >> PM_POOL_SHIFT, PM_ARENA_SIZE) + gap_before_arenas(size);
        full_size = size;
        pm_region.base = (uintptr_t)base;
        pm_region.arenas = pm_region.base + before;
        pm_region.map = (uint8_t *)base + (before >> PM_POOL_SHIFT);
        set_end(size, pm_region.arenas);
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

/* The arenas of a chunk, from the first to behind the last; the page map and the end of a region of full size may leave
 * fewer than 64. */
struct arenas {
    uintptr_t start, end;
    uint64_t bits;
};

static struct arenas
arenas_of(unsigned chunk)
{
    uintptr_t start = pm_region.base + ((uintptr_t)chunk << PM_CHUNK_SHIFT);
    uintptr_t end = start + PM_CHUNK_SIZE, region_end = pm_region.base + full_size;
    start = start < pm_region.arenas ? pm_region.arenas : start;
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

/* Gives back what is reserved behind the committed chunks, and its part of the page map. */
static bool
give_back_rest(void)
{
    uintptr_t end = pm_region.base + ((uintptr_t)committed_chunks << PM_CHUNK_SHIFT);
    uintptr_t map = pm_round_up((uintptr_t)map_page_of(committed_chunks), pm_os_page_size());
    size_t former = pm_region.size;
    uintptr_t former_map = map_end;
    end = end < pm_region.arenas ? pm_region.arenas : end;
    if (end >= pm_region.base + former)
        return false;
    set_end(end - pm_region.base, map_end);
    if (!pm_os_unmap((void *)end, pm_region.base + former - end)) {
        set_end(former, map_end);
        return false;
    }
    if (map < former_map) {
        set_end(pm_region.size, map);
        if (!pm_os_unmap((void *)map, former_map - map))
            set_end(pm_region.size, former_map);
    }
    may_grow_at = 0;
    return true;
}

/* The page map has a page for the chunk, which can be written. It has so before any address of the chunk counts as
 * ours. */
static bool
commit_map_page(unsigned chunk)
{
    uintptr_t end = pm_round_up((uintptr_t)map_page_of(chunk) + PM_POOL_SIZE, pm_os_page_size());
    if (end > map_end) {
        if (!pm_os_reserve_at((void *)map_end, end - map_end))
            return false;
        set_end(pm_region.size, end);
    }
    return pm_os_commit(map_page_of(chunk), PM_POOL_SIZE);
}

/* The chunk's arenas lie in the region, with their part of the page map. They do either all or not at all: the region
 * was given back from the end of a chunk on. */
static bool
reserve_chunk(unsigned chunk, struct arenas arenas)
{
    if (arenas.end <= pm_region.base + pm_region.size)
        return commit_map_page(chunk);
    if (may_grow_at != 0 && pm_os_milliseconds() < may_grow_at)
        return false;
    bool done = commit_map_page(chunk) && pm_os_reserve_at((void *)arenas.start, arenas.end - arenas.start);
    if (done)
        set_end(arenas.end - pm_region.base, map_end);
    may_grow_at = done ? 0 : pm_os_milliseconds() + GROWTH_PAUSE;
    return done;
}

/* Makes the next chunk usable: its page of the page map, and its arenas. A limit that was set from outside is seen
 * here, without asking for it: a program may live in a sandbox that ends it for calls that no allocator needs. */
static bool
commit_chunk(void)
{
    struct arenas arenas = arenas_of(committed_chunks);
    if (arenas.bits != 0) {
        if (arenas.end < pm_region.base + pm_region.size && !pm_os_has_addresses() &&
            pm_os_address_space_limit() != SIZE_MAX)
            give_back_rest();
        if (!reserve_chunk(committed_chunks, arenas) ||
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
    return (unsigned)((full_size + PM_CHUNK_SIZE - 1) >> PM_CHUNK_SHIFT);
}

static uintptr_t
arena_at(unsigned chunk, unsigned index)
{
    return pm_region.base + ((uintptr_t)chunk << PM_CHUNK_SHIFT) + ((uintptr_t)index << PM_ARENA_SHIFT);
}

/* The arenas of the huge page that the lowest of `bit` lies in. */
static uint64_t
huge_page_of(uint64_t bit)
{
    return HUGE_BITS << ((unsigned)__builtin_ctzll(bit) / HUGE_ARENAS * HUGE_ARENAS);
}

/* Its bit in the bytes above. */
static uint8_t
huge_bit_of(uint64_t bits)
{
    return (uint8_t)(1u << ((unsigned)__builtin_ctzll(bits) / HUGE_ARENAS));
}

/* Asks the kernel for a huge page, or not to make one any more. It may refuse the first; of the second nothing
 * depends. */
static bool
use_huge_page(unsigned chunk, uint64_t bits, bool use)
{
    void *address = (void *)arena_at(chunk, (unsigned)__builtin_ctzll(bits));
    if (!pm_os_use_huge_pages(address, PM_REGION_ALIGNMENT, use) && use)
        return false;
    huge_pages[chunk] = (uint8_t)(use ? huge_pages[chunk] | huge_bit_of(bits) : huge_pages[chunk] & ~huge_bit_of(bits));
    huge_count += use ? 1u : -1u;
    return true;
}

/* The arena `bit`, without memory, is going to be used. When nothing else has memory there, a large heap gets a huge
 * page; the kernel will then hold memory for the other arenas too. */
static void
touch(unsigned chunk, uint64_t bit, bool large)
{
    uint64_t page = huge_page_of(bit);
    bool fresh = (free_arenas[chunk] & page) == page && (dirty_arenas[chunk] & page) == 0;
    bool huge = (huge_pages[chunk] & huge_bit_of(page)) != 0;
    if (large && fresh && !huge && pm_options.huge_pages && huge_count < HUGE_MAX)
        huge = use_huge_page(chunk, page, true);
    uint64_t others = huge ? page & free_arenas[chunk] & ~dirty_arenas[chunk] & ~bit : 0;
    unsigned count = (unsigned)__builtin_popcountll(others);
    dirty_arenas[chunk] |= others;
    counts.arenas_dirty += count;
    pm_keep_count(&keep, count * PM_ARENA_POOLS, 0);
    pm_keep_regret(&keep, (1 + count) * PM_ARENA_POOLS);
}

/* The lowest free arena of a chunk that has one. */
static struct pm_region_arena
take_from(unsigned chunk, bool large)
{
    uint64_t bit = free_arenas[chunk] & -free_arenas[chunk];
    bool dirty = (dirty_arenas[chunk] & bit) != 0;
    if (!dirty)
        touch(chunk, bit, large);
    struct pm_region_arena arena = {
        .address = arena_at(chunk, (unsigned)__builtin_ctzll(bit)),
        .dirty = dirty,
        .huge = (huge_pages[chunk] & huge_bit_of(bit)) != 0,
    };
    free_arenas[chunk] &= ~bit;
    dirty_arenas[chunk] &= ~bit;
    counts.arenas_free--;
    counts.arenas_dirty -= arena.dirty;
    pm_keep_count(&keep, 0, arena.dirty ? PM_ARENA_POOLS : 0);
    if (++counts.arenas > counts.arenas_peak)
        counts.arenas_peak = counts.arenas;
    return arena;
}

struct pm_region_arena
pm_region_take_arena(bool large)
{
    struct pm_region_arena arena = {0};
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return arena; /* a signal handler that interrupted this very section */
    while (lowest_chunk < chunk_count()) {
        if (lowest_chunk == committed_chunks && !commit_chunk())
            break;
        if (free_arenas[lowest_chunk] != 0) {
            arena = take_from(lowest_chunk, large);
            break;
        }
        lowest_chunk++;
    }
    pm_lock_release(&pm_region_lock);
    return arena;
}

/* ---- Giving memory back; the lock is held ---- */

/* The huge page that `bits`, the arenas of one, make up goes out of use. */
static void
break_huge_page(unsigned chunk, uint64_t bits)
{
    if ((huge_pages[chunk] & huge_bit_of(bits)) == 0)
        return;
    use_huge_page(chunk, bits, false);
    broken_pages[chunk] |= huge_bit_of(bits);
}

/* All arenas of a huge page that was broken up are free. */
static bool
is_whole_again(unsigned chunk, uint64_t bits)
{
    return (broken_pages[chunk] & huge_bit_of(bits)) != 0 && (free_arenas[chunk] & bits) == bits;
}

/* Discards the arenas `bits`, neighbours in one call. Returns those whose memory is gone. */
static uint64_t
discard(unsigned chunk, uint64_t bits)
{
    uint64_t gone = 0;
    while (bits != 0) {
        struct pm_run run = pm_first_run(bits);
        if (pm_os_discard((void *)arena_at(chunk, run.first), run.count * PM_ARENA_SIZE))
            gone |= pm_run_bits(run);
        else if (run.count > 1)
            for (unsigned i = 0; i < run.count; i++)
                gone |= discard(chunk, pm_run_bits((struct pm_run){run.first + i, 1}));
        bits &= ~pm_run_bits(run);
    }
    return gone;
}

/* Purges the dirty arenas `bits`, which one huge page could hold. What the kernel does not take stays dirty. Returns how
 * many pools. */
static unsigned
purge_arenas(unsigned chunk, uint64_t bits)
{
    uint64_t page = huge_page_of(bits), gone = 0;
    if (!is_whole_again(chunk, page)) {
        gone = discard(chunk, bits);
    } else if (pm_os_renew((void *)arena_at(chunk, (unsigned)__builtin_ctzll(page)), PM_REGION_ALIGNMENT)) {
        broken_pages[chunk] &= (uint8_t)~huge_bit_of(page);
        gone = bits;
    }
    keep.refusals += gone != bits;
    unsigned count = (unsigned)__builtin_popcountll(gone);
    dirty_arenas[chunk] &= ~gone;
    counts.arenas_dirty -= count;
    pm_keep_count(&keep, 0, count * PM_ARENA_POOLS);
    return count * PM_ARENA_POOLS;
}

/* Purges those of a chunk's huge pages that are free as a whole and the small pages, or, when `parts`, all. */
static unsigned
purge_chunk(unsigned chunk, bool parts, size_t target)
{
    unsigned purged = 0;
    for (unsigned first = PM_CHUNK_ARENAS; first > 0 && pm_keep_is_above(&keep, target); first -= HUGE_ARENAS) {
        uint64_t bits = HUGE_BITS << (first - HUGE_ARENAS);
        bool whole = (free_arenas[chunk] & bits) == bits;
        if ((dirty_arenas[chunk] & bits) == 0 || (!whole && !parts && (huge_pages[chunk] & huge_bit_of(bits)) != 0))
            continue;
        if (!whole)
            break_huge_page(chunk, bits);
        purged += purge_arenas(chunk, dirty_arenas[chunk] & bits);
    }
    return purged;
}

static unsigned
purge_chunks(bool parts, size_t target, unsigned most)
{
    unsigned purged = 0;
    for (unsigned chunk = committed_chunks; chunk-- > 0 && pm_keep_is_above(&keep, target) && purged < most;)
        if (dirty_arenas[chunk] != 0)
            purged += purge_chunk(chunk, parts, target);
    return purged;
}

/* A huge page is not broken up while there is not more free than would be one. */
static void
balance(void)
{
    size_t limit = pm_keep_limit(&keep, 0);
    if (pm_keep_is_above(&keep, limit))
        keep.given += purge_chunks(false, pm_keep_target(limit), PURGE_MAX);
    if (huge_count != 0 && limit != 0 && limit < SIZE_MAX)
        limit += HUGE_ARENAS * PM_ARENA_POOLS;
    if (pm_keep_is_above(&keep, limit))
        keep.given += purge_chunks(true, pm_keep_target(limit), PURGE_MAX);
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
    pm_keep_count(&keep, PM_ARENA_POOLS, 0);
    if (chunk < lowest_chunk)
        lowest_chunk = chunk;
    /* At once: small pages in use again would stay small. */
    uint64_t page = huge_page_of(bit_of(arena));
    if (is_whole_again(chunk, page) && keep.refusals < PM_KEEP_REFUSALS)
        keep.given += purge_arenas(chunk, dirty_arenas[chunk] & page);
    if (pm_keep_is_above(&keep, pm_keep_limit(&keep, 0)))
        balance();
    pm_lock_release(&pm_region_lock);
}

void
pm_region_break_huge_page(uintptr_t arena)
{
    pm_lock_acquire(&pm_region_lock);
    break_huge_page(chunk_of(arena), huge_page_of(bit_of(arena)));
    pm_lock_release(&pm_region_lock);
}

/* ---- Giving addresses back; the lock is held ---- */

/* The last accessible chunk has arenas, all of them free. */
static bool
last_chunk_is_free(void)
{
    if (committed_chunks == 0)
        return false;
    struct arenas arenas = arenas_of(committed_chunks - 1);
    return arenas.bits != 0 && free_arenas[committed_chunks - 1] == arenas.bits;
}

/* It goes out of use. */
static void
forget_last_chunk(void)
{
    unsigned chunk = --committed_chunks;
    struct arenas arenas = arenas_of(chunk);
    size_t dirty = (size_t)__builtin_popcountll(dirty_arenas[chunk]);
    counts.committed_bytes -= PM_POOL_SIZE + (arenas.end - arenas.start);
    counts.arenas_free -= (size_t)__builtin_popcountll(arenas.bits);
    counts.arenas_dirty -= dirty;
    pm_keep_count(&keep, 0, dirty * PM_ARENA_POOLS);
    huge_count -= (unsigned)__builtin_popcount(huge_pages[chunk]);
    free_arenas[chunk] = dirty_arenas[chunk] = 0;
    huge_pages[chunk] = broken_pages[chunk] = 0;
}

/* A region that grows under a limit on address space leaves what it does not need to the rest of the program: chunks
 * that hold no memory either. */
static void
retreat(void)
{
    if (pm_region.size >= full_size)
        return;
    while (last_chunk_is_free() && dirty_arenas[committed_chunks - 1] == 0)
        forget_last_chunk();
    give_back_rest();
}

/* ---- The interface to it ---- */

bool
pm_region_age(uint64_t now)
{
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return true;
    pm_keep_age(&keep, now);
    balance();
    retreat();
    bool unfinished = !pm_keep_settled(&keep, 0);
    pm_lock_release(&pm_region_lock);
    return unfinished;
}

bool
pm_region_purge(void)
{
    bool any = false;
    unsigned purged;
    do {
        if (!pm_lock_acquire_unless_forking(&pm_region_lock))
            break;
        keep.refusals = 0;
        purged = purge_chunks(true, 0, PURGE_MAX);
        if (purged == 0)
            retreat();
        pm_lock_release(&pm_region_lock);
        any |= purged != 0;
    } while (purged != 0);
    return any;
}

/* The page map keeps its page: it is one in 4096, and all zero. */
bool
pm_region_can_give(size_t wanted)
{
    bool limited = pm_os_address_space_limit() != SIZE_MAX;
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return false;
    bool enough = wanted <= (limited ? counts.reserved_bytes : counts.committed_bytes);
    pm_lock_release(&pm_region_lock);
    return enough;
}

bool
pm_region_decommit(size_t wanted)
{
    bool done = false;
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return false;
    bool enough = counts.arenas_free >= wanted / PM_ARENA_SIZE;
    while (enough && last_chunk_is_free()) {
        struct arenas arenas = arenas_of(committed_chunks - 1);
        if (!pm_os_decommit((void *)arenas.start, arenas.end - arenas.start))
            break;
        forget_last_chunk();
        may_grow_at = 0;
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
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return false;
    size_t used = (size_t)committed_chunks << PM_CHUNK_SHIFT;
    bool shrunk = pm_region.size > used && wanted <= pm_region.size - used && give_back_rest();
    pm_lock_release(&pm_region_lock);
    return shrunk;
}

void
pm_region_obey_limit(void)
{
    size_t limit = pm_os_address_space_limit();
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return; /* the next chunk notices it */
    may_grow_at = 0;
    if (counts.reserved_bytes > limit / LIMIT_SHARE)
        give_back_rest();
    pm_lock_release(&pm_region_lock);
}

void
pm_region_finish(void)
{
    if (!pm_lock_acquire_unless_forking(&pm_region_lock))
        return;
    give_back_rest();
    pm_lock_release(&pm_region_lock);
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
    bool taken = arena >= pm_region.arenas && chunk_of(arena) < committed_chunks &&
                 arena + PM_ARENA_SIZE <= pm_region.base + pm_region.size &&
                 !(free_arenas[chunk_of(arena)] & bit_of(arena));
    pm_lock_release(&pm_region_lock);
    return taken;
}

uintptr_t
pm_region_next_arena(uintptr_t arena)
{
    if (arena < pm_region.arenas)
        arena = pm_region.arenas;
    pm_lock_acquire(&pm_region_lock);
    uintptr_t end = pm_region.base + ((uintptr_t)committed_chunks << PM_CHUNK_SHIFT);
    pm_lock_release(&pm_region_lock);
    for (; arena + PM_ARENA_SIZE <= end; arena += PM_ARENA_SIZE)
        if (pm_region_arena_is_taken(arena))
            return arena;
    return 0;
}
