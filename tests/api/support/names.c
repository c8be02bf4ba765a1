/* SPDX-License-Identifier: MIT
 *
 * Fills the table of entry points: see names.h.
 */
#include "names.h"

#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <poolmalloc.h>
#include <stdlib.h>
#include <string.h>

#ifdef TEST_STANDARD_NAMES

static size_t
usable_size(void *block)
{
    return malloc_usable_size(block);
}

struct entry_points mem = {
    .malloc = malloc,
    .malloc8 = pm_malloc8,
    .calloc = calloc,
    .realloc = realloc,
    .reallocarray = reallocarray,
    .aligned_alloc = aligned_alloc,
    .free = free,
    .usable_size = usable_size,
    .trim = malloc_trim,
    .memalign = memalign,
    .posix_memalign = posix_memalign,
    .valloc = valloc,
    .pvalloc = pvalloc,
};

/* The C library's headers do not declare these (yet, or any more): a program that uses them finds them like this. */
static void
look_up(void *pointer, const char *name)
{
    void *address = dlsym(RTLD_DEFAULT, name);
    REQUIRE(address != NULL, "%s is not exported", name);
    memcpy(pointer, &address, sizeof address);
}

__attribute__((constructor)) static void
look_up_undeclared(void)
{
    look_up(&mem.free_sized, "free_sized");
    look_up(&mem.free_aligned_sized, "free_aligned_sized");
    look_up(&mem.cfree, "cfree");
}

#else

static size_t
usable_size(void *block)
{
    return pm_usable_size(block);
}

struct entry_points mem = {
    .malloc = pm_malloc,
    .malloc8 = pm_malloc8,
    .calloc = pm_calloc,
    .realloc = pm_realloc,
    .reallocarray = pm_reallocarray,
    .aligned_alloc = pm_aligned_alloc,
    .free = pm_free,
    .free_sized = pm_free_sized,
    .free_aligned_sized = pm_free_aligned_sized,
    .usable_size = usable_size,
    .trim = pm_trim,
};

#endif

int
test_compact(void)
{
    const char *alignment = getenv("POOLMALLOC_ALIGNMENT");
    return alignment != NULL && strcmp(alignment, "8") == 0;
}

size_t
test_alignment_of(size_t size)
{
    return size <= 8 || (test_compact() && size <= 512) ? 8 : 16;
}

size_t
test_class_of(size_t size)
{
    size_t step = test_alignment_of(size);
    return size <= 8 ? 8 : (size + step - 1) / step * step;
}
