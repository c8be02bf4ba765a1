/* SPDX-License-Identifier: MIT
 *
 * Which size a block has: what malloc reports for every size up to 512 bytes, the odd classes that serve callers who
 * ask for 8-byte alignment, and the same under POOLMALLOC_ALIGNMENT=8, with which this program is run a second time.
 */
#include "support/check.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/suite.h"

#include <poolmalloc.h>
#include <stdint.h>
#include <string.h>

enum { POOLED_UP_TO = 512 };

Test(classes, malloc_serves_the_smallest_class_that_is_aligned)
{
    for (size_t size = 0; size <= POOLED_UP_TO; size++) {
        void *block = mem.malloc(size);
        REQUIRE(mem.usable_size(block) == test_class_of(size), "malloc(%zu): usable %zu, not %zu", size,
                mem.usable_size(block), test_class_of(size));
        REQUIRE(pm_is_pooled(block), "malloc(%zu) is not from the pools", size);
        mem.free(block);
    }
    void *block = mem.malloc(24);
    REQUIRE(mem.usable_size(block) == (test_compact() ? 24u : 32u), "malloc(24): %zu", mem.usable_size(block));
    mem.free(block);
}

Test(classes, good_size_says_what_malloc_will_give)
{
    for (size_t size = 0; size <= 5000; size++) {
        size_t expected = size <= POOLED_UP_TO ? test_class_of(size) : size;
        REQUIRE(pm_good_size(size) == expected, "pm_good_size(%zu): %zu", size, pm_good_size(size));
    }
    REQUIRE(pm_good_size(SIZE_MAX) == SIZE_MAX, "pm_good_size(SIZE_MAX)");
}

/* Several blocks of each size at once: at 8-byte alignment every second one must stand at an odd multiple of 8. */
static void
odd_class(const char *name, void *(*get)(size_t size), size_t size)
{
    enum { EACH = 20 };
    size_t expected = size == 0 ? 8 : (size + 7) / 8 * 8;
    void *blocks[EACH];
    int odd = 0;
    for (int i = 0; i < EACH; i++) {
        blocks[i] = get(size);
        REQUIRE(mem.usable_size(blocks[i]) == expected, "%s(%zu): usable %zu", name, size, mem.usable_size(blocks[i]));
        REQUIRE((uintptr_t)blocks[i] % 8 == 0 && pm_is_pooled(blocks[i]), "%s(%zu): %p", name, size, blocks[i]);
        memset(blocks[i], i, expected);
        odd += (uintptr_t)blocks[i] % 16 == 8;
    }
    REQUIRE(expected % 16 == 0 || odd > 0, "%s(%zu): no block uses the 8-byte alignment", name, size);
    for (int i = 0; i < EACH; i++) {
        REQUIRE(*(unsigned char *)blocks[i] == i, "%s(%zu): block %d", name, size, i);
        mem.free(blocks[i]);
    }
}

static void *
aligned_to_8(size_t size)
{
    return mem.aligned_alloc(8, size);
}

Test(classes, alignment_8_is_served_from_every_class)
{
    for (size_t size = 0; size <= POOLED_UP_TO; size++) {
        odd_class("malloc8", mem.malloc8, size);
        odd_class("aligned_alloc(8)", aligned_to_8, size);
    }
}

Test(classes, malloc8_above_the_pools_is_malloc)
{
    for (size_t size = POOLED_UP_TO + 1; size < 10000; size += 111) {
        void *block = mem.malloc8(size);
        REQUIRE(block != NULL && !pm_is_pooled(block), "malloc8(%zu)", size);
        REQUIRE(mem.usable_size(block) >= size, "malloc8(%zu): %zu", size, mem.usable_size(block));
        mem.free(block);
    }
}

Test(classes, larger_requests_go_to_the_system)
{
    for (size_t p = 0; p < producer_count; p++) {
        for (size_t size = POOLED_UP_TO + 1; size < 10000; size += 89) {
            void *block = producers[p].get(size);
            REQUIRE(!pm_is_pooled(block), "%s(%zu) is inside the region", producers[p].name, size);
            mem.free(block);
        }
    }
    REQUIRE(!pm_is_pooled(NULL) && !pm_is_pooled(&mem), "what poolmalloc did not give");
}

#ifdef TEST_STANDARD_NAMES

static void *
posix_to_8(size_t size)
{
    void *block = NULL;
    REQUIRE(mem.posix_memalign(&block, 8, size) == 0, "posix_memalign(8, %zu)", size);
    return block;
}

static void *
memalign_to_8(size_t size)
{
    return mem.memalign(8, size);
}

Test(classes, alignment_8_by_the_other_standard_names)
{
    for (size_t size = 0; size <= POOLED_UP_TO; size++) {
        odd_class("posix_memalign(8)", posix_to_8, size);
        odd_class("memalign(8)", memalign_to_8, size);
    }
}

#endif
