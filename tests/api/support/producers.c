/* SPDX-License-Identifier: MIT
 *
 * The tables of producers and consumers: see producers.h.
 */
#include "producers.h"

#include "check.h"
#include "names.h"

#include <errno.h>
#include <poolmalloc.h>
#include <stdint.h>

/* The entry points take two sizes where one block has one; the product overflows exactly when it must. */
static void *
get_malloc(size_t size)
{
    return mem.malloc(size);
}

static void *
get_calloc(size_t size)
{
    return mem.calloc(1, size);
}

static void *
get_calloc_bytes(size_t size)
{
    return mem.calloc(size, 1);
}

static void *
get_realloc(size_t size)
{
    return mem.realloc(NULL, size);
}

static void *
get_grown(size_t size)
{
    void *block = mem.malloc(1);
    void *grown = mem.realloc(block, size + (size == 0));
    if (grown == NULL)
        mem.free(block);
    return grown;
}

static void *
get_reallocarray(size_t size)
{
    return mem.reallocarray(NULL, size, 1);
}

static void *
get_aligned_8(size_t size)
{
    return mem.aligned_alloc(8, size);
}

static void *
get_aligned_64(size_t size)
{
    return mem.aligned_alloc(64, size);
}

static void *
get_aligned_4096(size_t size)
{
    return mem.aligned_alloc(4096, size);
}

static void *
get_malloc8(size_t size)
{
    return mem.malloc8(size);
}

#ifdef TEST_STANDARD_NAMES

static void *
get_memalign_32(size_t size)
{
    return mem.memalign(32, size);
}

static void *
get_posix_memalign(size_t alignment, size_t size)
{
    void *block = NULL;
    int error = mem.posix_memalign(&block, alignment, size);
    if (error != 0) {
        REQUIRE(block == NULL, "a posix_memalign that failed wrote the pointer");
        errno = error;
    }
    return block;
}

static void *
get_posix_memalign_8(size_t size)
{
    return get_posix_memalign(8, size);
}

static void *
get_posix_memalign_256(size_t size)
{
    return get_posix_memalign(256, size);
}

static void *
get_valloc(size_t size)
{
    return mem.valloc(size);
}

static void *
get_pvalloc(size_t size)
{
    return mem.pvalloc(size);
}

static void *
get_pm_malloc(size_t size)
{
    return pm_malloc(size);
}

#endif

const struct producer producers[] = {
    {"malloc", get_malloc, 0},
    {"calloc(1, n)", get_calloc, 0},
    {"calloc(n, 1)", get_calloc_bytes, 0},
    {"realloc(NULL, n)", get_realloc, 0},
    {"realloc(p, n)", get_grown, 0},
    {"reallocarray", get_reallocarray, 0},
    {"aligned_alloc(8, n)", get_aligned_8, 8},
    {"aligned_alloc(64, n)", get_aligned_64, 64},
    {"aligned_alloc(4096, n)", get_aligned_4096, 4096},
    {"pm_malloc8", get_malloc8, 8},
#ifdef TEST_STANDARD_NAMES
    {"memalign(32, n)", get_memalign_32, 32},
    {"posix_memalign(8, n)", get_posix_memalign_8, 8},
    {"posix_memalign(256, n)", get_posix_memalign_256, 256},
    {"valloc", get_valloc, 4096},
    {"pvalloc", get_pvalloc, 4096},
    {"pm_malloc", get_pm_malloc, 0},
#endif
};
const size_t producer_count = sizeof producers / sizeof producers[0];

static void
put_free(void *block, size_t size)
{
    (void)size;
    mem.free(block);
}

static void
put_realloc(void *block, size_t size)
{
    (void)size;
    REQUIRE(mem.realloc(block, 0) == NULL, "realloc(p, 0) frees the block");
}

static void
put_moved(void *block, size_t size)
{
    void *moved = mem.realloc(block, size + 700);
    REQUIRE(moved != NULL, "realloc to %zu", size + 700);
    mem.free(moved);
}

static void
put_shrunk(void *block, size_t size)
{
    void *shrunk = mem.realloc(block, size / 2 + 1);
    REQUIRE(shrunk != NULL, "realloc to %zu", size / 2 + 1);
    mem.free(shrunk);
}

static void
put_sized(void *block, size_t size)
{
    mem.free_sized(block, size);
}

static void
put_sized_wrong(void *block, size_t size)
{
    mem.free_sized(block, size > 300 ? size / 7 : size * 5 + 1);
}

static void
put_aligned_sized(void *block, size_t size)
{
    mem.free_aligned_sized(block, 8, size);
}

static void
put_aligned_sized_wrong(void *block, size_t size)
{
    mem.free_aligned_sized(block, 1024, SIZE_MAX - size);
}

#ifdef TEST_STANDARD_NAMES

static void
put_cfree(void *block, size_t size)
{
    (void)size;
    mem.cfree(block);
}

static void
put_pm_free(void *block, size_t size)
{
    (void)size;
    pm_free(block);
}

static void
put_pm_realloc(void *block, size_t size)
{
    void *moved = pm_realloc(block, size + 100);
    REQUIRE(moved != NULL, "pm_realloc to %zu", size + 100);
    mem.free(moved);
}

#endif

const struct consumer consumers[] = {
    {"free", put_free},
    {"realloc(p, 0)", put_realloc},
    {"realloc to more", put_moved},
    {"realloc to less", put_shrunk},
    {"free_sized", put_sized},
    {"free_sized, wrong size", put_sized_wrong},
    {"free_aligned_sized", put_aligned_sized},
    {"free_aligned_sized, wrong", put_aligned_sized_wrong},
#ifdef TEST_STANDARD_NAMES
    {"cfree", put_cfree},
    {"pm_free", put_pm_free},
    {"pm_realloc", put_pm_realloc},
#endif
};
const size_t consumer_count = sizeof consumers / sizeof consumers[0];

size_t
producer_alignment(const struct producer *producer, size_t size)
{
    return producer->alignment != 0 ? producer->alignment : test_alignment_of(size);
}
