/* SPDX-License-Identifier: MIT
 *
 * What the public functions (poolmalloc.h) and the standard names (override.c) are made of, besides each other.
 * Layer 4: uses process.h, heap.h, system.h.
 */
#ifndef PM_ALLOC_H
#define PM_ALLOC_H

#include <stddef.h>

#include "compiler.h"

/* ---- Behind the fast path (fast.h) ---- */

/* Requests above PM_TABLE_MAX. */
void *pm_malloc_large(size_t size);
/* The magazine is empty. */
PM_NOINLINE void *pm_malloc_slow(size_t size);
/* An address in the region whose magazine is full, or holds it as its last entry. */
PM_NOINLINE void pm_free_slow(void *block);
/* An address outside the region, or NULL, or one that is not a multiple of 8. */
void pm_free_outside(void *block);

/* ---- For every entry point ---- */

/* As pm_aligned_alloc for an alignment that is known to be a power of two. */
void *pm_memalign(size_t alignment, size_t size);

/* posix_memalign(3): EINVAL or ENOMEM is returned, and `*block` left alone; errno is ENOMEM then too, as with glibc. */
int pm_posix_memalign(void **block, size_t alignment, size_t size);

/* memalign(3) of glibc: an alignment that is no power of two is rounded up to one. */
void *pm_memalign_rounded(size_t alignment, size_t size);

/* valloc(3), pvalloc(3): aligned to a page; the second also rounds the size up to pages. */
void *pm_valloc(size_t size);
void *pm_pvalloc(size_t size);

#endif
