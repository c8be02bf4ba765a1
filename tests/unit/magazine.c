/* SPDX-License-Identifier: MIT
 *
 * magazine.h: which magazine serves which size, how many blocks each may hold, and the stack itself: empty, full, and
 * both at once.
 */
#include "magazine.h"

#include "support/check.h"

#include <criterion/criterion.h>

/* ---- Numbers ---- */

/* In the table: sizes up to 1024, of pools and of the system allocator. */
Test(magazine, every_size_of_the_table_has_the_magazine_of_its_block_size)
{
    for (size_t alignment = 8; alignment <= 16; alignment += 8)
        for (size_t size = 0; size <= PM_TABLE_MAX; size++) {
            unsigned number = pm_magazine_of_granules((size + 7) / 8, alignment);
            size_t block = pm_magazine_block_size(number);
            size_t least = size == 0 ? 1 : size;
            size_t step = size > 512 || (alignment == 16 && size > 8) ? 16 : 8;
            REQUIRE((size + 7) / 8 < PM_GRANULE_COUNT, "size %zu is not in the table", size);
            REQUIRE(number > 0 && number < PM_MAGAZINE_COUNT, "size %zu: magazine %u", size, number);
            REQUIRE(block == (least + step - 1) / step * step, "size %zu: blocks of %zu bytes", size, block);
            REQUIRE((number <= PM_CLASS_LAST) == (size <= 512), "size %zu: magazine %u", size, number);
            REQUIRE(size > 512 || number == pm_class_of_malloc(size, alignment), "size %zu: class %u", size, number);
            REQUIRE(size <= 512 || number == pm_magazine_of_system(size, 1), "size %zu: magazine %u", size, number);
        }
}

/* A request finds the smallest blocks that are large enough, and these waste little. */
Test(magazine, requests_get_blocks_that_are_large_enough)
{
    for (size_t size = PM_SMALL_MAX + 1; size <= PM_CACHED_MAX; size++) {
        unsigned number = pm_magazine_of_system(size, 1);
        size_t block = pm_magazine_block_size(number);
        REQUIRE(number > PM_CLASS_LAST && number < PM_MAGAZINE_COUNT, "size %zu: magazine %u", size, number);
        REQUIRE(block >= size && block % 16 == 0, "size %zu: blocks of %zu bytes", size, block);
        REQUIRE(number == PM_CLASS_LAST + 1 || pm_magazine_block_size(number - 1) < size, "size %zu: %zu", size, block);
        REQUIRE(block - size < 16 || (block - size) * PM_CACHED_STEPS < size, "size %zu wastes %zu", size,
                block - size);
    }
    REQUIRE(pm_magazine_of_system(PM_CACHED_MAX, 1) == PM_MAGAZINE_COUNT - 1, "the last magazine is another one");
}

/* A block waits where those wait that are not larger than it: whoever gets it from there gets enough. */
Test(magazine, blocks_wait_among_smaller_ones)
{
    for (size_t size = PM_SMALL_MAX + 1; size <= PM_CACHED_MAX; size++) {
        unsigned number = pm_magazine_of_system(size, 0);
        size_t block = number > PM_CLASS_LAST ? pm_magazine_block_size(number) : 0;
        REQUIRE(number < PM_MAGAZINE_COUNT && block <= size, "size %zu among blocks of %zu", size, block);
        REQUIRE(number == PM_MAGAZINE_COUNT - 1 || pm_magazine_block_size(number + 1) > size, "size %zu: %zu", size,
                block);
    }
    for (unsigned shift = 15; shift < 64; shift++) {
        size_t size = ((size_t)1 << shift) + (shift == 15 ? 16 * 1024 / PM_CACHED_STEPS * 2 : 0);
        REQUIRE(pm_magazine_of_system(size, 0) >= PM_MAGAZINE_COUNT, "%zu bytes have a magazine", size);
    }
}

Test(magazine, block_sizes_ascend_and_are_found_again)
{
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        size_t size = pm_magazine_block_size(number);
        REQUIRE(number == 1 || size > pm_magazine_block_size(number - 1), "magazine %u: %zu bytes", number, size);
        REQUIRE(number > PM_CLASS_LAST || size == number * 8u, "class %u: %zu bytes", number, size);
        REQUIRE(number <= PM_CLASS_LAST || (pm_magazine_of_system(size, 1) == number &&
                                            pm_magazine_of_system(size, 0) == number),
                "magazine %u: %zu bytes belong to %u", number, size, pm_magazine_of_system(size, 0));
    }
    REQUIRE(pm_magazine_block_size(PM_MAGAZINE_COUNT - 1) == PM_CACHED_MAX, "the last magazine");
}

Test(magazine, capacities)
{
    REQUIRE(pm_magazine_capacity(0) == 0, "magazine 0 holds blocks");
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        size_t size = pm_magazine_block_size(number);
        size_t limit = size <= PM_TABLE_MAX ? PM_MAGAZINE_BYTES : PM_MAGAZINE_LARGE_BYTES;
        unsigned least = size <= PM_TABLE_MAX ? PM_MAGAZINE_MIN : 2;
        unsigned most = size <= PM_TABLE_MAX ? PM_MAGAZINE_MAX : PM_MAGAZINE_MIN;
        unsigned capacity = pm_magazine_capacity(number);
        REQUIRE(capacity >= least && capacity <= most, "magazine %u holds %u", number, capacity);
        REQUIRE(capacity * size <= limit || capacity == least, "magazine %u holds %zu bytes", number, capacity * size);
        REQUIRE(capacity == most || (capacity + 1) * size > limit, "magazine %u holds only %u", number, capacity);
    }
}

/* ---- The stack ---- */

enum { CAPACITY = 5 };

static void *slots[CAPACITY + 2]; /* NULL before the first entry, and one behind the last */
static char blocks[CAPACITY + 1];

static struct pm_magazine
make_magazine(unsigned capacity)
{
    return (struct pm_magazine){
        .top = slots + 1, .limit = slots + 1 + capacity, .capacity = capacity};
}

Test(magazine, last_in_first_out)
{
    struct pm_magazine magazine = make_magazine(CAPACITY);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < CAPACITY; i++) {
            REQUIRE(pm_magazine_count(&magazine) == i, "%u entries", pm_magazine_count(&magazine));
            REQUIRE(pm_magazine_push(&magazine, &blocks[i]), "full with %u", i);
            REQUIRE(magazine.last == &blocks[i] && magazine.top[-1] == &blocks[i], "block %u is not the last", i);
        }
        REQUIRE(!pm_magazine_push(&magazine, &blocks[CAPACITY]), "never full");
        REQUIRE(pm_magazine_count(&magazine) == CAPACITY, "%u entries", pm_magazine_count(&magazine));
        REQUIRE(slots[0] == NULL && slots[CAPACITY + 1] == NULL, "a slot beside the magazine was written");
        for (unsigned i = CAPACITY; i-- > 0;)
            REQUIRE(pm_magazine_pop(&magazine) == &blocks[i], "not block %u", i);
        for (int again = 0; again < 2; again++)
            REQUIRE(pm_magazine_pop(&magazine) == NULL && pm_magazine_count(&magazine) == 0, "never empty");
    }
}

Test(magazine, the_last_entry_follows_a_change_of_many)
{
    struct pm_magazine magazine = make_magazine(CAPACITY);
    for (unsigned i = 0; i < CAPACITY; i++)
        pm_magazine_push(&magazine, &blocks[i]);
    pm_magazine_set_top(&magazine, pm_magazine_base(&magazine) + 2);
    REQUIRE(pm_magazine_pop(&magazine) == &blocks[1] && pm_magazine_pop(&magazine) == &blocks[0], "other blocks");
    pm_magazine_set_top(&magazine, pm_magazine_base(&magazine));
    REQUIRE(pm_magazine_pop(&magazine) == NULL, "not empty");
}

Test(magazine, capacity_zero_is_empty_and_full)
{
    struct pm_magazine magazine = make_magazine(0);
    REQUIRE(pm_magazine_pop(&magazine) == NULL, "something in it");
    REQUIRE(!pm_magazine_push(&magazine, &blocks[0]), "room in it");
    REQUIRE(pm_magazine_pop(&magazine) == NULL && slots[1] == NULL, "something in it now");
}
