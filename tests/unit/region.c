/* SPDX-License-Identifier: MIT
 *
 * region.h: reserving the region, taking and returning arenas (the lowest free address first), the walk over the taken
 * ones, the counts, and the page map; compared with a model that knows of each arena whether it is taken.
 * region_memory.c has what becomes of the memory, region_huge.c the huge pages.
 */
#include "region.h"

#include "os.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

enum { MODEL_ARENAS = 1024, STEPS = 20000 };

/* Where the first arena of a region of `size` bytes is: behind the page map, at a multiple of an arena, with half a
 * chunk between them in large regions. */
static uintptr_t
first_arena(size_t size)
{
    size_t map = (size / PM_POOL_SIZE + PM_ARENA_SIZE - 1) / PM_ARENA_SIZE * PM_ARENA_SIZE;
    return pm_region.base + map + (size >= 1024 * MIB ? 8 * MIB : 0);
}

static size_t
arena_count(size_t size)
{
    return (pm_region.base + size - first_arena(size)) / PM_ARENA_SIZE;
}

/* As pm_region_take_arena, for tests in which no arena lies in a huge page. */
static uintptr_t
take_arena(bool *dirty)
{
    struct pm_region_arena arena = pm_region_take_arena(false);
    REQUIRE(!arena.huge, "a huge page nobody asked for");
    *dirty = arena.dirty;
    return arena.address;
}

/* ---- Reserving ---- */

/* Without a size: 4 times the memory, or all there can be. */
Test(region, the_usual_size)
{
    struct pm_region_counts counts;
    pm_region_init(0);
    pm_region_counts(&counts);
    REQUIRE(counts.reserved_bytes == pm_region.size && counts.committed_bytes == 0, "%zu", counts.reserved_bytes);
    const char *end = (const char *)pm_region.base + pm_region.size;
    REQUIRE(strcmp(mapping_protection(end - 1), "---p") == 0, "accessible before it is used");
    size_t memory = pm_os_memory_bytes();
    REQUIRE(pm_region.size >= 4 * memory || pm_region.size == PM_REGION_MAX, "%zu bytes", pm_region.size);
    REQUIRE(pm_region.size < 16 * memory || pm_region.size <= (size_t)64 << 30, "%zu bytes", pm_region.size);
}

Test(region, sizes)
{
    static const struct {
        size_t asked, got;
    } cases[] = {{16 * MIB, 16 * MIB}, {17 * MIB, 16 * MIB}, {50 * MIB, 50 * MIB}, {1024 * MIB + 1, 1024 * MIB}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pm_region_init(cases[i].asked);
        REQUIRE(pm_region.size == cases[i].got && pm_region.base % PM_REGION_ALIGNMENT == 0, "%zu bytes for %zu",
                pm_region.size, cases[i].asked);
    }
    uintptr_t before = pm_region.base;
    pm_region_init(16 * MIB - 1);
    REQUIRE(pm_region.base == before, "a region below the smallest size");
}

/* With a limit on address space the region takes no more than a quarter of it, or less when there is not so much. */
Test(region, sizes_under_a_limit)
{
    if (TEST_SANITIZED)
        return; /* whose shadow takes more than the limit */
    struct rlimit limit = {(rlim_t)4 << 30, (rlim_t)4 << 30};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    pm_region_init(0);
    REQUIRE(pm_region.size == (size_t)1 << 30, "%zu bytes under a limit of 4 GiB", pm_region.size);
    pm_os_unmap((void *)pm_region.base, pm_region.size);
    pm_region_init((size_t)16 << 30);
    REQUIRE(pm_region.size == (size_t)2 << 30, "%zu bytes of 16 GiB under a limit of 4 GiB", pm_region.size);
}

Test(region, contains_is_exact)
{
    fresh_region(16 * MIB);
    char *base = (char *)pm_region.base, *first = (char *)first_arena(16 * MIB);
    REQUIRE(pm_region_contains(first) && pm_region_contains(base + 16 * MIB - 1), "an address of the arenas");
    REQUIRE(!pm_region_contains(first - 1) && !pm_region_contains(base + 16 * MIB), "an address beside the arenas");
    REQUIRE(!pm_region_contains(NULL) && !pm_region_contains((void *)UINTPTR_MAX), "the ends of the address space");
    for (size_t offset = 0; offset < 16 * MIB; offset += 1000)
        REQUIRE((char *)pm_region_page(base + offset) == base + offset / 4096, "the map's byte for %zu", offset);
    REQUIRE(pm_region.map == pm_region_page(first), "the byte for the first arena");
}

/* A wrong pointer may point to anywhere in the region: its page has a byte, and that is 0. */
Test(region, the_whole_page_map_can_be_read)
{
    bool dirty;
    fresh_region((size_t)2 << 30);
    REQUIRE(take_arena(&dirty) != 0, "no arena");
    for (size_t offset = 0; offset < pm_region.size; offset += PM_POOL_SIZE)
        REQUIRE(*pm_region_page((char *)pm_region.base + offset) == 0, "page %zu has a class", offset / PM_POOL_SIZE);
}

/* ---- Taking and returning ---- */

static void
take_all_in_order(size_t size)
{
    bool dirty = true;
    fresh_region(size);
    for (size_t i = 0; i < arena_count(size); i++) {
        uintptr_t arena = take_arena(&dirty);
        REQUIRE(arena == first_arena(size) + i * PM_ARENA_SIZE, "arena %zu of a region of %zu bytes", i, size);
        REQUIRE(!dirty, "arena %zu is dirty", i);
        memset((void *)arena, 1, 1);
        memset((char *)arena + PM_ARENA_SIZE - 1, 1, 1);
    }
    REQUIRE(take_arena(&dirty) == 0, "an arena behind the last");
}

Test(region, all_arenas_in_order_16m)
{
    take_all_in_order(16 * MIB);
}

/* The last chunk has room for 8 arenas only, the last arena of the second for half an arena. */
Test(region, all_arenas_in_order_50m)
{
    take_all_in_order(50 * MIB);
}

/* The page map takes 1 MiB, so the first chunk has 60 arenas. */
Test(region, all_arenas_in_order_4g)
{
    take_all_in_order(4096 * MIB);
}

/* The page map takes more than a chunk: the first chunks have no arena at all. */
Test(region, the_first_arena_of_a_large_region)
{
    struct pm_region_counts counts;
    bool dirty;
    size_t size = (size_t)128 << 30;
    fresh_region(size);
    REQUIRE(take_arena(&dirty) == pm_region.base + 40 * MIB, "not half a chunk behind the page map");
    pm_region_counts(&counts);
    REQUIRE(counts.committed_bytes == PM_CHUNK_SIZE / 2 + PM_POOL_SIZE, "%zu bytes", counts.committed_bytes);
}

/* ---- Against a model ---- */

struct model {
    bool taken[MODEL_ARENAS];
    size_t count, peak, arenas;
    uintptr_t first;
};

static void
require_walk(const struct model *model)
{
    uintptr_t at = 0;
    for (size_t i = 0; i < model->arenas; i++) {
        uintptr_t arena = model->first + i * PM_ARENA_SIZE;
        REQUIRE(pm_region_arena_is_taken(arena) == model->taken[i], "arena %zu is %staken", i,
                model->taken[i] ? "not " : "");
        if (!model->taken[i])
            continue;
        at = pm_region_next_arena(at);
        REQUIRE(at == arena, "the walk comes to %zx instead of arena %zu", (size_t)at, i);
        at += PM_ARENA_SIZE;
    }
    REQUIRE(pm_region_next_arena(at) == 0, "the walk goes on behind the last arena");
}

static void
require_counts(const struct model *model)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == model->count && counts.arenas_peak == model->peak, "%zu of %zu arenas, not %zu of %zu",
            counts.arenas, counts.arenas_peak, model->count, model->peak);
    /* Chunks become accessible as far as they are needed, and stay so. */
    size_t arenas = 0;
    for (size_t i = 0; i < model->arenas; i++)
        arenas = pm_region_arena_is_taken(model->first + i * PM_ARENA_SIZE) ? i + 1 : arenas;
    size_t accessible = counts.arenas + counts.arenas_free;
    REQUIRE(accessible >= arenas && accessible >= model->peak, "%zu arenas are accessible", accessible);
    REQUIRE(counts.committed_bytes % PM_ARENA_SIZE / PM_POOL_SIZE == (accessible + PM_CHUNK_ARENAS) / PM_CHUNK_ARENAS,
            "%zu bytes for %zu arenas", counts.committed_bytes, accessible);
    REQUIRE(counts.committed_bytes / PM_ARENA_SIZE == accessible, "%zu bytes", counts.committed_bytes);
    REQUIRE(counts.arenas_dirty <= counts.arenas_free, "%zu dirty of %zu", counts.arenas_dirty, counts.arenas_free);
}

static void
take_one(struct model *model)
{
    bool dirty;
    size_t lowest = 0;
    while (lowest < model->arenas && model->taken[lowest])
        lowest++;
    uintptr_t arena = take_arena(&dirty);
    if (lowest == model->arenas) {
        REQUIRE(arena == 0, "an arena of a full region: %zx", (size_t)arena);
        return;
    }
    REQUIRE(arena == model->first + lowest * PM_ARENA_SIZE, "not the lowest one, %zu", lowest);
    for (size_t page = 0; page < PM_ARENA_POOLS; page++)
        REQUIRE(*pm_region_page((char *)arena + page * PM_POOL_SIZE) == 0, "page %zu has a class", page);
    model->taken[lowest] = true;
    if (++model->count > model->peak)
        model->peak = model->count;
}

static void
return_one(struct model *model, size_t from)
{
    for (size_t i = 0; i < model->arenas; i++) {
        size_t at = (from + i) % model->arenas;
        if (!model->taken[at])
            continue;
        pm_region_return_arena(model->first + at * PM_ARENA_SIZE);
        model->taken[at] = false;
        model->count--;
        return;
    }
}

/* Now more are taken, now more returned, so that the region fills and empties; three chunks and a part. */
Test(region, random_order_against_the_model)
{
    static struct model model;
    struct random random = {test_seed("region")};
    size_t size = 54 * MIB;
    fresh_region(size);
    model.first = first_arena(size);
    model.arenas = arena_count(size);
    for (size_t step = 0; step < STEPS; step++) {
        unsigned percent = step / 1000 % 2 == 0 ? 65 : 35;
        if (random_below(&random, 100) < percent)
            take_one(&model);
        else
            return_one(&model, random_below(&random, model.arenas));
        if (step % 200 == 0) {
            require_walk(&model);
            require_counts(&model);
        }
    }
    REQUIRE(model.peak == model.arenas, "the region was never full: %zu arenas", model.peak);
}

Test(region, what_is_no_arena_is_not_taken)
{
    bool dirty;
    fresh_region(16 * MIB);
    REQUIRE(pm_region_next_arena(0) == 0, "a walk over an untouched region");
    uintptr_t arena = take_arena(&dirty);
    REQUIRE(pm_region_arena_is_taken(arena), "a taken arena");
    REQUIRE(!pm_region_arena_is_taken(arena - PM_ARENA_SIZE), "the page map's");
    REQUIRE(!pm_region_arena_is_taken(arena + PM_ARENA_SIZE), "a free arena");
    REQUIRE(!pm_region_arena_is_taken(pm_region.base + pm_region.size), "one behind the region");
    REQUIRE(!pm_region_arena_is_taken(0), "address 0");
    REQUIRE(pm_region_next_arena(arena + PM_ARENA_SIZE) == 0, "a walk from behind the last one");
}
