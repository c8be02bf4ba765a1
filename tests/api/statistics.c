/* SPDX-License-Identifier: MIT
 *
 * The library's own statistics and trim: that they count what the program does. This process has one thread, so the
 * counts are exact.
 */
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/suite.h"

#include <poolmalloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT = 50000 };

static void *blocks[COUNT];

static void
take(size_t size)
{
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = mem.malloc(size);
        memset(blocks[i], 1, size);
    }
}

static void
give_all(void)
{
    for (int i = 0; i < COUNT; i++)
        mem.free(blocks[i]);
}

static void
require_consistent(const struct pm_stats *stats)
{
    size_t pools = 0;
    size_t in_use = 0;
    size_t magazine = 0;
    size_t unused = 0;
    for (int i = 0; i < PM_CLASS_COUNT; i++) {
        const struct pm_class_stats *c = &stats->classes[i];
        REQUIRE(c->block_size == 8 * (size_t)(i + 1), "class %d has blocks of %zu bytes", i, c->block_size);
        REQUIRE(c->refilled - c->flushed == c->blocks_in_use + c->blocks_magazine,
                "class %zu: %zu refilled, %zu flushed, %zu in use, %zu in magazines", c->block_size,
                (size_t)c->refilled, (size_t)c->flushed, c->blocks_in_use, c->blocks_magazine);
        size_t capacity = 4096 / c->block_size * c->pools;
        REQUIRE(c->blocks_in_use + c->blocks_magazine + c->blocks_free == capacity,
                "class %zu: %zu in use, %zu in magazines, %zu free in %zu pools", c->block_size, c->blocks_in_use,
                c->blocks_magazine, c->blocks_free, c->pools);
        pools += c->pools;
        in_use += c->blocks_in_use * c->block_size;
        magazine += c->blocks_magazine * c->block_size;
        unused += c->blocks_free * c->block_size;
    }
    REQUIRE(stats->pools == pools, "%zu pools, %zu in the classes", stats->pools, pools);
    REQUIRE(stats->bytes_in_use == in_use, "%zu bytes in use, %zu in the classes", stats->bytes_in_use, in_use);
    REQUIRE(stats->bytes_magazine == magazine, "%zu, %zu in the classes", stats->bytes_magazine, magazine);
    REQUIRE(stats->bytes_free == unused, "%zu, %zu in the classes", stats->bytes_free, unused);
    REQUIRE(stats->heaps >= 1 && stats->heaps_parked <= stats->heaps, "%zu heaps, %zu parked", stats->heaps,
            stats->heaps_parked);
    REQUIRE(stats->committed_bytes <= stats->region_bytes, "%zu of %zu", stats->committed_bytes, stats->region_bytes);
}

Test(statistics, count_blocks_and_bytes)
{
    struct pm_stats before;
    struct pm_stats during;
    struct pm_stats after;
    mem.free(mem.malloc(48)); /* the heap exists */
    pm_stats_get(&before);
    require_consistent(&before);
    take(48);
    pm_stats_get(&during);
    require_consistent(&during);
    const struct pm_class_stats *class48 = &during.classes[48 / 8 - 1];
    size_t more = class48->blocks_in_use - before.classes[48 / 8 - 1].blocks_in_use;
    REQUIRE(more == COUNT, "%zu more blocks in use", more);
    more = during.bytes_in_use - before.bytes_in_use;
    REQUIRE(more == COUNT * (size_t)48, "%zu more bytes in use", more);
    REQUIRE(class48->refilled >= COUNT && class48->refills > 0, "%zu refilled", (size_t)class48->refilled);
    give_all();
    pm_stats_get(&after);
    require_consistent(&after);
    REQUIRE(after.bytes_in_use == before.bytes_in_use, "%zu bytes in use, %zu before", after.bytes_in_use,
            before.bytes_in_use);
    REQUIRE(after.classes[48 / 8 - 1].flushes > 0, "nothing was flushed");
}

Test(statistics, count_requests_to_the_system)
{
    struct pm_stats before;
    struct pm_stats after;
    mem.free(mem.malloc(1));
    pm_stats_get(&before);
    void *large = mem.malloc(100000);
    pm_stats_get(&after);
    REQUIRE(after.system_allocations >= before.system_allocations + 1, "%zu", (size_t)after.system_allocations);
    REQUIRE(after.system_bytes >= before.system_bytes + 100000, "%zu", (size_t)after.system_bytes);
    mem.free(large);
}

enum { UNTOUCHED = 0xa5, LATER = 100 };

/* A program that was compiled when the structure ended earlier: what it has is filled, what lies behind is its own. */
Test(statistics, an_older_program_gets_what_it_knows)
{
    static const size_t sizes[] = {
        0, offsetof(struct pm_stats, arenas_peak), offsetof(struct pm_stats, system_bytes) + 3,
        offsetof(struct pm_stats, classes), offsetof(struct pm_stats, classes[PM_CLASS_COUNT - 1].flushes)};
    struct pm_stats all, some;
    take(48);
    size_t known = pm_stats_get(&all);
    REQUIRE(known == sizeof all && all.arenas > 0, "%zu bytes, %zu arenas", known, all.arenas);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const unsigned char *bytes = (const unsigned char *)&some;
        memset(&some, UNTOUCHED, sizeof some);
        known = pm_stats_get_sized(&some, sizes[i]);
        REQUIRE(known == sizeof all, "%zu bytes are known", known);
        REQUIRE(memcmp(&some, &all, sizes[i]) == 0, "another result in %zu bytes", sizes[i]);
        for (size_t at = sizes[i]; at < sizeof some; at++)
            REQUIRE(bytes[at] == UNTOUCHED, "byte %zu was written, of %zu", at, sizes[i]);
    }
    give_all();
}

/* A program compiled for a structure that has more fields than this library knows. */
Test(statistics, a_newer_program_gets_zeros)
{
    static struct {
        struct pm_stats known;
        unsigned char later[LATER + 1];
    } newer;
    struct pm_stats all;
    take(48);
    pm_stats_get(&all);
    memset(&newer, UNTOUCHED, sizeof newer);
    size_t known = pm_stats_get_sized(&newer.known, sizeof newer.known + LATER);
    REQUIRE(known == sizeof all, "%zu bytes are known", known);
    REQUIRE(memcmp(&newer.known, &all, sizeof all) == 0, "another result");
    for (size_t at = 0; at < LATER; at++)
        REQUIRE(newer.later[at] == 0, "byte %zu behind the structure is %u", at, newer.later[at]);
    REQUIRE(newer.later[LATER] == UNTOUCHED, "more was written than was asked for");
    give_all();
}

Test(statistics, are_written_to_a_descriptor_without_allocating)
{
    struct pm_stats before;
    struct pm_stats after;
    int file = memfd_create("statistics", MFD_CLOEXEC);
    REQUIRE(file >= 0, "memfd_create");
    mem.free(mem.malloc(1));
    pm_stats_get(&before);
    pm_stats_print(file);
    pm_stats_print(-1);
    pm_stats_get(&after);
    REQUIRE(after.bytes_in_use == before.bytes_in_use, "%zu bytes in use, %zu before", after.bytes_in_use,
            before.bytes_in_use);
    char text[65536];
    ssize_t size = pread(file, text, sizeof text - 1, 0);
    REQUIRE(size > 100, "%zd bytes of text", size);
    text[size] = '\0';
    REQUIRE(memchr(text, 0, (size_t)size) == NULL && text[size - 1] == '\n', "%s", text);
    close(file);
}

Test(statistics, version)
{
    REQUIRE(strcmp(pm_version(), PM_VERSION_STRING) == 0, "%s", pm_version());
}

Test(trim, gives_free_memory_back)
{
    enum { SIZE = 400 };
    take(SIZE);
    size_t full = resident_bytes();
    give_all();
    size_t before = resident_bytes(); /* some may have gone back by itself */
    int result = mem.trim(0);
    size_t left = resident_bytes();
    REQUIRE(result == 1 || (result == 0 && left + (1 << 20) > before), "returned %d", result);
    size_t expected = full - COUNT * (size_t)SIZE * 9 / 10;
    REQUIRE(TEST_SANITIZED || left < expected, "%zu KiB resident after trim, %zu KiB before, at most %zu expected",
            left / 1024, full / 1024, expected / 1024);
    take(SIZE);
    give_all();
}

Test(trim, leaves_live_blocks_alone)
{
    take(64);
    for (int i = 0; i < COUNT; i++)
        if (i % 500 == 0)
            memset(blocks[i], 0x5a, 64);
        else
            mem.free(blocks[i]);
    mem.trim(0);
    for (int i = 0; i < COUNT; i += 500) {
        const unsigned char *block = blocks[i];
        REQUIRE(block[0] == 0x5a && memcmp(block, block + 1, 63) == 0, "block %d", i);
        mem.free(blocks[i]);
    }
}
