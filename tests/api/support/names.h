/* SPDX-License-Identifier: MIT
 *
 * The entry points under test, as one table of function pointers.
 *
 * A test is written once and built twice. With TEST_STANDARD_NAMES the table holds malloc, free, ... and the program is
 * linked to the library that replaces them; without it, it holds pm_malloc, pm_free, ... and the program keeps the
 * malloc it has. Entry points that exist in one build only are NULL in the other.
 *
 * Calling through the table also keeps the compiler out: to it, malloc followed by free is nothing at all.
 */
#ifndef TEST_NAMES_H
#define TEST_NAMES_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct entry_points {
    void *(*malloc)(size_t size);
    void *(*malloc8)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void *(*reallocarray)(void *block, size_t count, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    void (*free)(void *block);
    void (*free_sized)(void *block, size_t size);
    void (*free_aligned_sized)(void *block, size_t alignment, size_t size);
    size_t (*usable_size)(void *block);
    int (*trim)(size_t pad);
    /* Standard names only. */
    void *(*memalign)(size_t alignment, size_t size);
    int (*posix_memalign)(void **block, size_t alignment, size_t size);
    void *(*valloc)(size_t size);
    void *(*pvalloc)(size_t size);
    void (*cfree)(void *block);
};

extern struct entry_points mem;

/* 1 under POOLMALLOC_ALIGNMENT=8, where every class serves malloc. */
int test_compact(void);

/* The alignment malloc(size) promises: what the C ABI asks for, less for blocks too small to hold such an object. */
size_t test_alignment_of(size_t size);

/* The bytes malloc(size) must report as usable; for up to 512 bytes only. */
size_t test_class_of(size_t size);

#ifdef __cplusplus
}
#endif

#endif
