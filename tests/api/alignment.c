/* SPDX-License-Identifier: MIT
 *
 * Alignment and usable size of every size from 0 to 4096 with every alignment from 8 bytes to 64 KiB; bad alignments.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/names.h"
#include "support/producers.h"
#include "support/suite.h"

#include <errno.h>
#include <poolmalloc.h>
#include <stdint.h>
#include <string.h>

enum { MARK = 4711, LOWEST_SHIFT = 3, HIGHEST_SHIFT = 16, LARGEST = 4096 };

/* A byte that differs between neighbours in the sweep; its whole block is filled with it. */
static int
block_byte(size_t size, int shift)
{
    return (int)(size * 7 + (size_t)shift * 16 + 1) & 0xff;
}

static void
require_filled(const unsigned char *block, size_t bytes, int byte, size_t size, int shift)
{
    REQUIRE(bytes == 0 || (block[0] == byte && memcmp(block, block + 1, bytes - 1) == 0),
            "%zu bytes aligned to %d were overwritten", size, 1 << shift);
}

/* Blocks of one size in all alignments live side by side, filled to their whole usable size; then each is checked and
 * half of them are freed, half go through realloc first. */
static void
sweep(const char *name, void *(*get)(size_t alignment, size_t size))
{
    for (size_t size = 0; size <= LARGEST; size++) {
        unsigned char *blocks[HIGHEST_SHIFT + 1];
        size_t usable[HIGHEST_SHIFT + 1];
        for (int shift = LOWEST_SHIFT; shift <= HIGHEST_SHIFT; shift++) {
            size_t alignment = (size_t)1 << shift;
            unsigned char *block = blocks[shift] = get(alignment, size);
            REQUIRE(block != NULL, "%s of %zu bytes aligned to %zu", name, size, alignment);
            REQUIRE((uintptr_t)block % alignment == 0, "%s: %p for %zu bytes aligned to %zu", name, (void *)block, size,
                    alignment);
            usable[shift] = mem.usable_size(block);
            REQUIRE(usable[shift] >= size, "%s: usable %zu of %zu", name, usable[shift], size);
            memset(block, block_byte(size, shift), usable[shift]);
        }
        for (int shift = LOWEST_SHIFT; shift <= HIGHEST_SHIFT; shift++) {
            unsigned char *block = blocks[shift];
            int byte = block_byte(size, shift);
            require_filled(block, usable[shift], byte, size, shift);
            if ((size + (size_t)shift) % 2 == 0) {
                size_t other = (size * 3 + 5) % 1500 + 1;
                block = mem.realloc(block, other);
                REQUIRE(block != NULL, "%s: realloc of %zu to %zu", name, size, other);
                require_filled(block, size < other ? size : other, byte, size, shift);
            }
            mem.free(block);
        }
    }
}

Test(alignment, aligned_alloc_for_every_size_and_alignment)
{
    sweep("aligned_alloc", mem.aligned_alloc);
}

Test(alignment, malloc_is_aligned_for_any_object_of_its_size)
{
    enum { EACH = 5 };
    for (size_t p = 0; p < producer_count; p++) {
        for (size_t size = 0; size <= 2100; size++) {
            void *blocks[EACH];
            for (int i = 0; i < EACH; i++) {
                blocks[i] = producers[p].get(size);
                REQUIRE((uintptr_t)blocks[i] % producer_alignment(&producers[p], size) == 0, "%s of %zu bytes: %p",
                        producers[p].name, size, blocks[i]);
                REQUIRE(mem.usable_size(blocks[i]) >= size, "%s of %zu bytes", producers[p].name, size);
            }
            for (int i = 0; i < EACH; i++)
                mem.free(blocks[i]);
        }
    }
}

Test(alignment, aligned_alloc_below_8_gives_8)
{
    for (size_t alignment = 1; alignment < 8; alignment *= 2) {
        for (size_t size = 0; size <= 600; size += 7) {
            void *block = mem.aligned_alloc(alignment, size);
            REQUIRE(block != NULL && (uintptr_t)block % 8 == 0, "aligned_alloc(%zu, %zu)", alignment, size);
            mem.free(block);
        }
    }
}

/* C17 7.22.3.1 with the correction of DR 460: an alignment that is not supported fails. */
Test(alignment, aligned_alloc_of_no_power_of_two_is_einval)
{
    const size_t bad[] = {0, 3, 5, 6, 7, 9, 12, 24, 48, 100, 4095, 4097, 65535, SIZE_MAX, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (size_t size = 0; size <= 2000; size += 400) {
            errno = MARK;
            REQUIRE(mem.aligned_alloc(bad[i], size) == NULL, "aligned_alloc(%zu, %zu)", bad[i], size);
            REQUIRE(errno == EINVAL, "aligned_alloc(%zu, %zu): errno %d", bad[i], size, errno);
        }
    }
}

Test(alignment, large_alignments_and_what_cannot_be_met)
{
    for (size_t alignment = (size_t)1 << 17; alignment <= (size_t)1 << 26; alignment *= 2) {
        unsigned char *block = mem.aligned_alloc(alignment, 100);
        REQUIRE(block != NULL && (uintptr_t)block % alignment == 0, "aligned_alloc(%zu, 100): %p", alignment,
                (void *)block);
        memset(block, 1, mem.usable_size(block));
        mem.free(block);
    }
    for (size_t alignment = (size_t)1 << 48; alignment != 0; alignment *= 2) {
        errno = MARK;
        REQUIRE(mem.aligned_alloc(alignment, 1) == NULL, "aligned_alloc(%zu, 1)", alignment);
        REQUIRE(errno == ENOMEM, "aligned_alloc(%zu, 1): errno %d", alignment, errno);
    }
}

/* Up to 512 bytes an alignment costs no more than rounding the size up to a multiple of it. */
Test(alignment, aligned_blocks_come_from_the_smallest_class_that_fits)
{
    for (size_t alignment = 16; alignment <= 512; alignment *= 2) {
        for (size_t size = 1; size <= 512; size++) {
            size_t expected = (size + alignment - 1) / alignment * alignment;
            void *block = mem.aligned_alloc(alignment, size);
            REQUIRE(mem.usable_size(block) == expected, "aligned_alloc(%zu, %zu): usable %zu", alignment, size,
                    mem.usable_size(block));
            REQUIRE(pm_is_pooled(block), "aligned_alloc(%zu, %zu)", alignment, size);
            mem.free(block);
        }
    }
}

#ifdef TEST_STANDARD_NAMES

static void *
by_posix_memalign(size_t alignment, size_t size)
{
    void *block = NULL;
    errno = MARK;
    int error = mem.posix_memalign(&block, alignment, size);
    REQUIRE(error == 0, "posix_memalign(%zu, %zu) returned %d", alignment, size, error);
    REQUIRE(errno == MARK, "posix_memalign(%zu, %zu) set errno to %d", alignment, size, errno);
    return block;
}

Test(alignment, memalign_for_every_size_and_alignment)
{
    sweep("memalign", mem.memalign);
}

Test(alignment, posix_memalign_for_every_size_and_alignment)
{
    sweep("posix_memalign", by_posix_memalign);
}

/* glibc rounds an alignment up to a power of two; programs written for SunOS rely on it. */
Test(alignment, memalign_rounds_up_to_a_power_of_two)
{
    const size_t odd[][2] = {{0, 8},   {1, 8},     {3, 8},      {17, 32},    {24, 32},
                             {33, 64}, {100, 128}, {600, 1024}, {5000, 8192}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        for (size_t size = 0; size <= 2000; size += 50) {
            void *block = mem.memalign(odd[i][0], size);
            REQUIRE(block != NULL, "memalign(%zu, %zu)", odd[i][0], size);
            REQUIRE((uintptr_t)block % odd[i][1] == 0, "memalign(%zu, %zu): %p", odd[i][0], size, block);
            mem.free(block);
        }
    }
    errno = MARK;
    REQUIRE(mem.memalign(SIZE_MAX / 2 + 2, 8) == NULL, "there is no power of two above");
    REQUIRE(errno == EINVAL, "errno %d", errno);
    errno = MARK;
    REQUIRE(mem.memalign(SIZE_MAX / 2 + 1, 8) == NULL && errno == ENOMEM, "errno %d", errno);
}

Test(alignment, posix_memalign_with_a_bad_alignment_is_einval)
{
    const size_t bad[] = {0, 1, 2, 3, 4, 7, 12, 24, 40, 100, 4095, 65537, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (size_t size = 0; size <= 2000; size += 400) {
            void *untouched = &untouched;
            errno = MARK;
            int error = mem.posix_memalign(&untouched, bad[i], size);
            REQUIRE(error == EINVAL, "posix_memalign(%zu, %zu) returned %d", bad[i], size, error);
            REQUIRE(untouched == &untouched, "posix_memalign(%zu, %zu) wrote the pointer", bad[i], size);
            REQUIRE(errno == MARK, "posix_memalign(%zu, %zu) set errno to %d", bad[i], size, errno);
        }
    }
}

/* Returned, and in errno too: programs look there, since glibc has always put it there. */
Test(alignment, posix_memalign_that_cannot_be_met_is_enomem)
{
    const size_t requests[][2] = {{16, SIZE_MAX},          {64, (size_t)PTRDIFF_MAX + 1}, {4096, SIZE_MAX - 4095},
                                  {8, SIZE_MAX - 7},       {4096, PTRDIFF_MAX},           {(size_t)1 << 62, 8},
                                  {SIZE_MAX / 2 + 1, 100}, {16, (size_t)1 << 50}};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        void *untouched = &untouched;
        errno = MARK;
        int error = mem.posix_memalign(&untouched, requests[i][0], requests[i][1]);
        REQUIRE(error == ENOMEM, "posix_memalign(%zu, %zu) returned %d", requests[i][0], requests[i][1], error);
        REQUIRE(untouched == &untouched, "posix_memalign(%zu, %zu) wrote the pointer", requests[i][0], requests[i][1]);
        REQUIRE(errno == ENOMEM, "posix_memalign(%zu, %zu): errno %d", requests[i][0], requests[i][1], errno);
    }
}

Test(alignment, valloc_and_pvalloc_give_pages)
{
    for (size_t size = 0; size <= 20000; size += 100) {
        void *block = mem.valloc(size);
        REQUIRE(block != NULL && (uintptr_t)block % 4096 == 0, "valloc(%zu): %p", size, block);
        REQUIRE(mem.usable_size(block) >= size, "valloc(%zu)", size);
        mem.free(block);
        block = mem.pvalloc(size);
        size_t pages = (size + 4095) / 4096 * 4096;
        REQUIRE(block != NULL && (uintptr_t)block % 4096 == 0, "pvalloc(%zu): %p", size, block);
        REQUIRE(mem.usable_size(block) >= pages, "pvalloc(%zu): usable %zu", size, mem.usable_size(block));
        memset(block, 1, pages);
        mem.free(block);
    }
}

#endif
