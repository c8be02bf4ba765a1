/* SPDX-License-Identifier: MIT
 *
 * system_map.c: blocks with a mapping of their own, every function of it, and how pm_system_free and its like tell
 * these blocks from those of the system allocator.
 */
#include "system.h"

#include "geometry.h"
#include "os.h"
#include "support/blocks.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { SLOTS = 40, STEPS = 3000 };

static void
require_counts(size_t blocks)
{
    struct pm_system_info info;
    pm_map_info(&info);
    REQUIRE(pm_map_count == blocks && info.mapped_blocks == blocks, "%zu blocks, %zu in the statistics, not %zu",
            pm_map_count, info.mapped_blocks, blocks);
    REQUIRE(info.obtained_bytes == info.mapped_bytes && info.used_bytes == info.mapped_bytes, "%zu obtained, %zu used",
            info.obtained_bytes, info.used_bytes);
    REQUIRE((info.mapped_bytes == 0) == (blocks == 0), "%zu bytes in %zu blocks", info.mapped_bytes, blocks);
    REQUIRE(info.free_bytes == 0 && info.trimmable_bytes == 0, "%zu bytes free", info.free_bytes);
}

Test(system_map, malloc_of_any_size)
{
    static const size_t sizes[] = {0, 1, 16, 4031, 4032, 4033, 4096, 100000, (size_t)64 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *block = pm_map_malloc(sizes[i]);
        size_t usable = pm_map_usable_size(block);
        REQUIRE(block != NULL && (uintptr_t)block % 16 == 0, "%p", (void *)block);
        REQUIRE(usable >= sizes[i] && usable < sizes[i] + 4096 + 64, "%zu usable for %zu", usable, sizes[i]);
        REQUIRE(all_zero(block, sizes[i] < 8192 ? usable : 8192), "a new block is not zero");
        if (usable > 0)
            block[usable - 1] = 1; /* faults when the mapping ends before */
        pm_map_free(block);
        REQUIRE(mapping_protection(block)[0] == '\0', "the mapping of %zu bytes stays", sizes[i]);
    }
    require_counts(0);
    pm_map_free(NULL);
}

/* A page of another mapping each time, so that the next one begins at another multiple of a page. */
Test(system_map, memalign_of_every_alignment)
{
    for (size_t alignment = 1; alignment <= (size_t)8 << 20; alignment *= 2)
        for (size_t size = 0; size <= 20000; size += 3333) {
            pm_os_map(PM_POOL_SIZE);
            char *block = pm_map_memalign(alignment, size);
            REQUIRE(block != NULL && (uintptr_t)block % alignment == 0, "%p for %zu", (void *)block, alignment);
            REQUIRE((uintptr_t)block % 16 == 0, "%p is less aligned than malloc's blocks", (void *)block);
            REQUIRE(pm_map_usable_size(block) >= size, "%zu usable for %zu", pm_map_usable_size(block), size);
            memset(block, 0xff, pm_map_usable_size(block));
            REQUIRE(pm_map_owns(block), "not recognised");
            pm_map_free(block);
        }
    require_counts(0);
}

Test(system_map, calloc_is_zero)
{
    char *block = pm_map_calloc(300, 41);
    REQUIRE(block != NULL && pm_map_usable_size(block) >= 12300, "calloc");
    REQUIRE(all_zero(block, pm_map_usable_size(block)), "not zero");
    pm_map_free(block);
}

static void
require_no_memory(void *block, const char *call)
{
    REQUIRE(block == NULL && errno == ENOMEM, "%s: %p, errno %d", call, block, errno);
    errno = 0;
}

Test(system_map, too_large_is_no_memory)
{
    static const size_t sizes[] = {(size_t)1 << 60, PTRDIFF_MAX - 5000, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
                                   SIZE_MAX - 4096, SIZE_MAX - 100, SIZE_MAX};
    errno = 0;
    char *kept = pm_map_malloc(100);
    pattern_write(kept, 100, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        require_no_memory(pm_map_malloc(sizes[i]), "malloc");
        require_no_memory(pm_map_calloc(1, sizes[i]), "calloc");
        require_no_memory(pm_map_memalign(64, sizes[i]), "memalign");
        require_no_memory(pm_map_memalign((size_t)1 << 20, sizes[i]), "memalign of 1 MiB");
        require_no_memory(pm_map_realloc(kept, sizes[i]), "realloc");
        REQUIRE(pm_map_owns(kept) && pattern_holds(kept, 100, 100, 1), "a failed realloc lost the block");
    }
    require_no_memory(pm_map_memalign((size_t)1 << 63, 1), "memalign of 2^63");
    require_no_memory(pm_map_memalign((size_t)1 << 62, (size_t)1 << 62), "memalign of 2^62");
    require_no_memory(pm_map_memalign((size_t)1 << 62, PTRDIFF_MAX - 100), "memalign of 2^62, close to the limit");
    require_no_memory(pm_map_calloc(SIZE_MAX / 2 + 2, 2), "a product that overflows to 2");
    require_no_memory(pm_map_calloc((size_t)1 << 32, (size_t)1 << 32), "a product that overflows to 0");
    require_counts(1);
}

Test(system_map, realloc_keeps_contents_and_place)
{
    static const size_t alignments[] = {16, 256, 4096, 65536};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        char *block = pm_map_memalign(alignments[i], 5000);
        pattern_write(block, 5000, i);
        REQUIRE(pm_map_realloc(block, pm_map_usable_size(block)) == block, "moved without need");
        block = pm_map_realloc(block, (size_t)1 << 20);
        REQUIRE(block != NULL && pattern_holds(block, 5000, 5000, i), "contents were lost growing");
        REQUIRE(pm_map_usable_size(block) >= (size_t)1 << 20, "%zu usable", pm_map_usable_size(block));
        block[pm_map_usable_size(block) - 1] = 1;
        block = pm_map_realloc(block, 500);
        REQUIRE(block != NULL && pattern_holds(block, 5000, 500, i), "contents were lost shrinking");
        REQUIRE(pm_map_usable_size(block) < 500 + 2 * 4096, "%zu usable", pm_map_usable_size(block));
        pm_map_free(block);
    }
    char *block = pm_map_realloc(NULL, 10);
    REQUIRE(block != NULL && pm_map_owns(block), "realloc of NULL");
    pm_map_free(block);
    require_counts(0);
}

/* The list of mappings is a list from both ends: blocks go from its start, its end and between. */
Test(system_map, blocks_come_and_go_in_any_order)
{
    struct random random = {test_seed("system_map")};
    struct {
        char *block;
        size_t size;
    } slots[SLOTS] = {{NULL, 0}};
    size_t alive = 0, steps = STEPS;
    while (steps-- > 0) {
        size_t i = random_below(&random, SLOTS), size = random_below(&random, 20000);
        char *block = slots[i].block;
        REQUIRE(block == NULL || (pm_map_owns(block) && pattern_holds(block, slots[i].size, slots[i].size, i)),
                "block %zu", i);
        if (block != NULL && random_below(&random, 2) == 0) {
            pm_map_free(block);
            slots[i].block = NULL;
            alive--;
        } else {
            alive += block == NULL;
            slots[i].block = pm_map_realloc(block, size);
            slots[i].size = size;
            pattern_write(slots[i].block, size, i);
        }
        require_counts(alive);
    }
}

Test(system_map, until_the_system_allocator_is_found_mappings_serve)
{
    char *block = pm_system.malloc(100);
    REQUIRE(pm_map_owns(block) && pm_system_usable_size(block) == 4096 - 64, "malloc");
    block = pm_system_realloc(block, 10000);
    REQUIRE(pm_map_owns(block), "realloc");
    pm_system_free(block);
    block = pm_system.aligned_alloc(512, 100);
    REQUIRE(pm_map_owns(block) && (uintptr_t)block % 512 == 0, "aligned_alloc");
    pm_system.free(block);
    block = pm_system.calloc(10, 10);
    REQUIRE(pm_map_owns(block), "calloc");
    struct pm_system_info info;
    pm_system.info(&info);
    REQUIRE(info.mapped_blocks == 1 && info.mapped_bytes == 4096, "%zu bytes", info.mapped_bytes);
    pm_system_free(block);
    require_counts(0);
    REQUIRE(pm_system.trim == NULL && pm_system_option(1, 1) == 0, "somebody to ask");
}

Test(system_map, the_owner_of_a_block_is_known)
{
    char local;
    char *mapped = pm_system.malloc(100);
    pm_system_resolve();
    char *own = pm_system.malloc(100);
    REQUIRE(pm_map_owns(mapped) && !pm_map_owns(mapped + 64) && !pm_map_owns(own) && !pm_map_owns(&local) &&
                !pm_map_owns(NULL),
            "owns");
    REQUIRE(pm_system_usable_size(mapped) == 4096 - 64, "%zu", pm_system_usable_size(mapped));
    REQUIRE(pm_system_usable_size(own) == pm_system.usable_size(own), "%zu", pm_system_usable_size(own));
    mapped = pm_system_realloc(mapped, 100000);
    own = pm_system_realloc(own, 100000);
    REQUIRE(mapped != NULL && own != NULL, "realloc");
    REQUIRE(pm_map_owns(mapped) && !pm_map_owns(own), "a block changed its owner");
    pm_system_free(own);
    require_counts(1);
    pm_system_free(mapped);
    require_counts(0);
}

static int
an_option(int parameter, int value)
{
    return parameter * 10 + value;
}

Test(system_map, options_are_passed_on)
{
    pm_system.option = an_option;
    REQUIRE(pm_system_option(4, 2) == 42, "the option was not passed on");
    pm_system.option = NULL;
    REQUIRE(pm_system_option(4, 2) == 0, "an option without anybody to take it");
}
