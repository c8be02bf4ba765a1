/* SPDX-License-Identifier: MIT
 *
 * What this process holds, by the same snapshot that other processes take of it: pm_stats_get and pm_stats_print
 * (poolmalloc.h), the dumps that POOLMALLOC_STATS asks for, and the statistics calls of glibc, which report pools and
 * system allocator together. No lock of the library is taken. Nothing here allocates but what stdio needs for
 * malloc_info. Layer 4: uses process.h and everything below.
 */
#ifndef PM_STATS_H
#define PM_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Pools and system allocator in the terms of mallinfo2(3). */
struct pm_totals {
    size_t obtained_bytes; /* from the kernel */
    size_t used_bytes;     /* in blocks in use */
    size_t free_bytes;     /* obtained and not in use */
    size_t pool_used_bytes, pool_free_bytes;
    size_t mapped_blocks, mapped_bytes;
    size_t trimmable_bytes;
};

void pm_stats_totals(struct pm_totals *totals);

#ifdef __GLIBC__
#include <malloc.h>
struct mallinfo2 pm_stats_mallinfo2(void);
struct mallinfo pm_stats_mallinfo(void);
#endif

/* As malloc_stats(3), on a file descriptor. */
void pm_stats_print_totals(int fd);

/* The dump of this process. `ask_system`: the system allocator says what it holds; not in a signal handler, which may
 * have interrupted it. */
void pm_stats_dump(int fd, bool json, bool ask_system);

/* stats_output.c: the dump that POOLMALLOC_STATS asks for. */
void pm_stats_at_exit(void);

/* As malloc_info(3): XML. -1 and EINVAL when `options` is not 0. */
int pm_stats_print_xml(int options, FILE *stream);

#endif
