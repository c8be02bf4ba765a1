/* SPDX-License-Identifier: MIT
 *
 * What the C standards, POSIX and the glibc manual promise of malloc, calloc, realloc, free and their kin: zero sizes,
 * sizes that cannot be met, errno, zeroed memory. Alignment, realloc's contents and the tables of who frees what have
 * files of their own.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MARK = 4711 }; /* an errno no library sets */

static const size_t sizes[] = {0,   1,    8,    9,    16,   24,   100,  500,   512,    513,     800,
                               999, 1000, 1024, 1025, 2000, 4096, 5000, 40000, 200000, 1 << 20, 64 << 20};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static const size_t impossible[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX / 2 + 4097, SIZE_MAX - 4096, SIZE_MAX - 4095,
                                    SIZE_MAX - 16,           SIZE_MAX - 15,       SIZE_MAX - 1,    SIZE_MAX};
enum { IMPOSSIBLE_COUNT = sizeof impossible / sizeof impossible[0] };

static int
by_address(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a;
    uintptr_t y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

Test(contract, a_block_of_zero_bytes_is_unique_and_can_be_freed)
{
    enum { EACH = 300 };
    static void *blocks[64][EACH];
    REQUIRE(producer_count <= 64, "room for %zu producers", producer_count);
    for (size_t p = 0; p < producer_count; p++) {
        for (int i = 0; i < EACH; i++) {
            blocks[p][i] = producers[p].get(0);
            REQUIRE(blocks[p][i] != NULL, "%s of 0 bytes", producers[p].name);
        }
    }
    qsort(blocks, producer_count * EACH, sizeof(void *), by_address);
    void **sorted = &blocks[0][0];
    for (size_t i = 1; i < producer_count * EACH; i++)
        REQUIRE(sorted[i] != sorted[i - 1], "%p was given twice", sorted[i]);
    for (size_t i = 0; i < producer_count * EACH; i++)
        mem.free(sorted[i]);
}

Test(contract, calloc_of_zero_items_or_zero_bytes_gives_a_block)
{
    void *none = mem.calloc(0, 100);
    void *empty = mem.calloc(SIZE_MAX, 0);
    REQUIRE(none != NULL && empty != NULL && none != empty, "%p and %p", none, empty);
    mem.free(none);
    mem.free(empty);
}

Test(contract, a_size_above_ptrdiff_max_fails_with_enomem)
{
    for (size_t p = 0; p < producer_count; p++) {
        for (int i = 0; i < IMPOSSIBLE_COUNT; i++) {
            errno = MARK;
            void *block = producers[p].get(impossible[i]);
            REQUIRE(block == NULL, "%s of %zu bytes", producers[p].name, impossible[i]);
            REQUIRE(errno == ENOMEM, "%s of %zu bytes: errno %d", producers[p].name, impossible[i], errno);
        }
    }
}

Test(contract, a_size_the_system_cannot_meet_fails_with_enomem)
{
    const size_t too_much[] = {PTRDIFF_MAX, PTRDIFF_MAX - 4096, (size_t)1 << 50};
    for (size_t p = 0; p < producer_count; p++) {
        for (int i = 0; i < 3; i++) {
            errno = MARK;
            void *block = producers[p].get(too_much[i]);
            REQUIRE(block == NULL && errno == ENOMEM, "%s of %zu bytes: %p, errno %d", producers[p].name, too_much[i],
                    block, errno);
        }
    }
}

/* Pairs whose product is past SIZE_MAX; some wrap to a size that could well be met. */
static const size_t overflowing[][2] = {
    {SIZE_MAX, 2},
    {2, SIZE_MAX},
    {SIZE_MAX / 2, 3},
    {(size_t)1 << 32, (size_t)1 << 32},
    {((size_t)1 << 32) + 1, ((size_t)1 << 32) + 1},
    {(size_t)1 << 60, 17},
    {17, (size_t)1 << 60},
    {SIZE_MAX, SIZE_MAX},
    {((size_t)1 << 33) + 1, (size_t)1 << 31},
};
enum { OVERFLOWING_COUNT = sizeof overflowing / sizeof overflowing[0] };

Test(contract, a_product_that_overflows_fails_with_enomem)
{
    for (int i = 0; i < OVERFLOWING_COUNT; i++) {
        const size_t *pair = overflowing[i];
        errno = MARK;
        REQUIRE(mem.calloc(pair[0], pair[1]) == NULL, "calloc(%zu, %zu)", pair[0], pair[1]);
        REQUIRE(errno == ENOMEM, "calloc(%zu, %zu): errno %d", pair[0], pair[1], errno);
        errno = MARK;
        REQUIRE(mem.reallocarray(NULL, pair[0], pair[1]) == NULL, "reallocarray(%zu, %zu)", pair[0], pair[1]);
        REQUIRE(errno == ENOMEM, "reallocarray(%zu, %zu): errno %d", pair[0], pair[1], errno);
    }
}

Test(contract, a_realloc_that_fails_leaves_the_block_alone)
{
    for (int s = 1; s < SIZE_COUNT; s++) {
        void *block = mem.malloc(sizes[s]);
        pattern_write(block, sizes[s], s);
        size_t usable = mem.usable_size(block);
        for (int i = 0; i < IMPOSSIBLE_COUNT; i++) {
            errno = MARK;
            REQUIRE(mem.realloc(block, impossible[i]) == NULL, "realloc to %zu", impossible[i]);
            REQUIRE(errno == ENOMEM, "realloc to %zu: errno %d", impossible[i], errno);
        }
        for (int i = 0; i < OVERFLOWING_COUNT; i++) {
            errno = MARK;
            REQUIRE(mem.reallocarray(block, overflowing[i][0], overflowing[i][1]) == NULL, "pair %d", i);
            REQUIRE(errno == ENOMEM, "pair %d: errno %d", i, errno);
        }
        errno = MARK;
        REQUIRE(mem.realloc(block, (size_t)1 << 50) == NULL && errno == ENOMEM, "errno %d", errno);
        REQUIRE(mem.usable_size(block) == usable, "a failed realloc changed the size of %zu bytes", sizes[s]);
        REQUIRE(pattern_holds(block, sizes[s], sizes[s], s), "a failed realloc changed %zu bytes", sizes[s]);
        mem.free(block);
    }
}

Test(contract, free_of_null_does_nothing)
{
    errno = MARK;
    mem.free(NULL);
    mem.free_sized(NULL, 100);
    mem.free_aligned_sized(NULL, 64, 128);
#ifdef TEST_STANDARD_NAMES
    mem.cfree(NULL);
#endif
    REQUIRE(errno == MARK, "errno %d", errno);
    REQUIRE(mem.usable_size(NULL) == 0, "the usable size of no block");
}

/* Giving back: every size, then enough blocks of one size that full magazines go back to their pools on the way. */
static void
free_everything_watching_errno(void)
{
    const int before[] = {0, MARK, ENOMEM};
    for (int e = 0; e < 3; e++) {
        for (int s = 0; s < SIZE_COUNT; s++) {
            for (size_t c = 0; c < consumer_count; c++) {
                void *block = mem.malloc(sizes[s]);
                REQUIRE(block != NULL, "malloc(%zu)", sizes[s]);
                errno = before[e];
                consumers[c].put(block, sizes[s]);
                REQUIRE(errno == before[e], "%s of %zu bytes set errno to %d", consumers[c].name, sizes[s], errno);
            }
        }
    }
    enum { MANY = 3000 };
    static void *many[MANY];
    for (size_t size = 8; size <= 1008; size += 200) {
        for (int i = 0; i < MANY; i++)
            many[i] = mem.malloc(size);
        for (int i = 0; i < MANY; i++) {
            errno = MARK;
            mem.free(many[i]);
            REQUIRE(errno == MARK, "free of block %d of %zu bytes set errno to %d", i, size, errno);
        }
    }
}

Test(contract, free_never_changes_errno)
{
    free_everything_watching_errno();
}

/* A thread whose first call is a free: the thread's heap is set up inside it. */
static void *
free_first(void *block)
{
    errno = MARK;
    mem.free(block);
    REQUIRE(errno == MARK, "the first free of a thread set errno to %d", errno);
    free_everything_watching_errno();
    return NULL;
}

Test(contract, free_never_changes_errno_in_a_thread_that_begins_with_it)
{
    for (int s = 0; s < SIZE_COUNT; s += 7) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, free_first, mem.malloc(sizes[s])) == 0, "thread %d", s);
        pthread_join(thread, NULL);
    }
}

/* Fills and frees blocks of `size`, then callocs as many. Returns how many of those had been used before. */
static int
recycled_and_zero(size_t size, int count)
{
    enum { MOST = 400 };
    static void *used[MOST];
    static void *zeroed[MOST];
    int recycled = 0;
    for (int i = 0; i < count; i++) {
        used[i] = mem.malloc(size);
        memset(used[i], 0xee, mem.usable_size(used[i]));
    }
    for (int i = 0; i < count; i++)
        mem.free(used[i]);
    for (int i = 0; i < count; i++) {
        zeroed[i] = i % 2 == 0 ? mem.calloc(1, size) : mem.calloc(size, 1);
        REQUIRE(zeroed[i] != NULL, "calloc of %zu bytes", size);
        REQUIRE(all_zero(zeroed[i], size), "calloc of %zu bytes, block %d of %d, is not zero", size, i, count);
        for (int j = 0; j < count; j++)
            recycled += zeroed[i] == used[j];
    }
    for (int i = 0; i < count; i++)
        mem.free(zeroed[i]);
    return recycled;
}

Test(contract, calloc_zeroes_recycled_memory)
{
    int recycled = 0;
    for (size_t size = 1; size <= 1100; size++)
        recycled += recycled_and_zero(size, 30);
    for (size_t size = 1200; size <= 300000; size = size * 5 / 4)
        recycled += recycled_and_zero(size, 4);
    REQUIRE(TEST_SANITIZED || recycled > 1000, "only %d blocks were recycled: nothing was tested", recycled);
    recycled_and_zero(100, 400);
    recycled_and_zero(512, 400);
}

/* Whole pools given back to the kernel or to another class come back zero as well, or are cleared. */
Test(contract, calloc_zeroes_memory_that_changed_its_class)
{
    enum { COUNT = 20000 };
    static void *blocks[COUNT];
    for (int round = 0; round < 6; round++) {
        size_t size = 40 + 72 * (size_t)round;
        for (int i = 0; i < COUNT; i++) {
            blocks[i] = mem.calloc(3, size / 3);
            REQUIRE(all_zero(blocks[i], size / 3 * 3), "round %d, block %d", round, i);
            memset(blocks[i], 0xee, mem.usable_size(blocks[i]));
        }
        for (int i = 0; i < COUNT; i++)
            mem.free(blocks[i]);
        if (round % 2 == 1)
            mem.trim(0);
    }
}
