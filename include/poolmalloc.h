/* SPDX-License-Identifier: MIT
 *
 * poolmalloc: blocks of up to 512 bytes from 4 KiB pools, everything larger from the system allocator.
 *
 * This is the whole public interface. A program needs it only to use the pools beside its own malloc, to ask for
 * 8-byte alignment, or to read the statistics: preloaded, or linked as libpoolmalloc, the library serves the standard
 * names (malloc, free, operator new, ...) and no header is involved.
 *
 * Unless a declaration says otherwise:
 *   - sizes are in bytes, alignments are powers of two in bytes;
 *   - every function may be called by any thread at any time, and any thread may free what another one allocated; none
 *     may be called from a signal handler;
 *   - a request that cannot be met returns NULL with errno set to ENOMEM (C17 7.22.3, POSIX malloc); so does every size
 *     above PTRDIFF_MAX;
 *   - blocks of all allocating functions, and of the standard names where the library replaces them, may be passed to
 *     every function that takes a block.
 */
#ifndef POOLMALLOC_H
#define POOLMALLOC_H

#include <stddef.h>
#include <stdint.h>

#define PM_VERSION_MAJOR 0
#define PM_VERSION_MINOR 1
#define PM_VERSION_PATCH 0
#define PM_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define PM_API __attribute__((visibility("default")))
#define PM_API_MALLOC(...) __attribute__((malloc, alloc_size(__VA_ARGS__), warn_unused_result))
#else
#define PM_API
#define PM_API_MALLOC(...)
#endif

#ifdef __cplusplus
#define PM_NOEXCEPT noexcept
extern "C" {
#else
#define PM_NOEXCEPT
#endif

/* ---- Allocation ------------------------------------------------------------------------------------------------- */

/* A block of at least `size` bytes, aligned to 16 (to 8 when `size` is at most 8, as C17 allows, and for every size under
 * POOLMALLOC_ALIGNMENT=8). A size of 0 gives a unique block that can be freed. (C17 7.22.3.4) */
PM_API void *pm_malloc(size_t size) PM_NOEXCEPT PM_API_MALLOC(1);

/* As pm_malloc, aligned to 8 only: the classes of 24, 40, 56, ... bytes serve it, so a 24-byte node takes 24 bytes. */
PM_API void *pm_malloc8(size_t size) PM_NOEXCEPT PM_API_MALLOC(1);

/* A block of count * size bytes, all zero; NULL and ENOMEM when the product overflows. (C17 7.22.3.2) */
PM_API void *pm_calloc(size_t count, size_t size) PM_NOEXCEPT PM_API_MALLOC(1, 2);

/* A block of at least `size` bytes at a multiple of `alignment`. NULL and EINVAL when `alignment` is not a power of two.
 * `size` need not be a multiple of it. Alignments below 8 give 8. (C17 7.22.3.1) */
PM_API void *pm_aligned_alloc(size_t alignment, size_t size) PM_NOEXCEPT PM_API_MALLOC(2);

/* Changes the size of `block`, moving it if it must; contents are kept up to the smaller of both sizes. On failure the
 * block stays as it was. pm_realloc(NULL, n) is pm_malloc(n); pm_realloc(p, 0) frees p and returns NULL (glibc manual,
 * "Changing the Size of a Block"). The result is aligned as pm_malloc's, whatever the block's alignment was. */
PM_API void *pm_realloc(void *block, size_t size) PM_NOEXCEPT __attribute__((warn_unused_result));

/* As pm_realloc(block, count * size); NULL and ENOMEM when the product overflows, the block unchanged. (POSIX 2024) */
PM_API void *pm_reallocarray(void *block, size_t count, size_t size) PM_NOEXCEPT __attribute__((warn_unused_result));

/* Gives `block` back; nothing when it is NULL. errno is never changed. A pointer into the pools that is no block in
 * use ends the program with one line on stderr and SIGABRT: at once under POOLMALLOC_CHECK=1; else at once when it is the
 * block that the thread freed last of its class, is not a multiple of 8, or points to a page without blocks, and the
 * rest when the block returns to its pool, unless it has been handed out again before. Of pointers outside the pools some are recognised; the others are the system allocator's to
 * judge. (C17 7.22.3.3, POSIX 2024) */
PM_API void pm_free(void *block) PM_NOEXCEPT;

/* As pm_free. The sizes are hints: a wrong one does no harm. (C23 7.24.3.4, 7.24.3.5) */
PM_API void pm_free_sized(void *block, size_t size) PM_NOEXCEPT;
PM_API void pm_free_aligned_sized(void *block, size_t alignment, size_t size) PM_NOEXCEPT;

/* The size of `block` in bytes, at least what was asked for, all of it the caller's; 0 for NULL. (malloc_usable_size(3)) */
PM_API size_t pm_usable_size(const void *block) PM_NOEXCEPT;

/* The least that pm_usable_size would say of a block of pm_malloc(size), without allocating one: the size of its class;
 * `size` itself above 512. A block can have more, a cache line for instance in a thread that has made few requests. */
PM_API size_t pm_good_size(size_t size) PM_NOEXCEPT;

/* 1 when `block` is an address inside the pools' region, 0 when the system allocator or nobody serves it. */
PM_API int pm_is_pooled(const void *block) PM_NOEXCEPT;

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* Gives back to the kernel every page that holds no live block: the calling thread's magazines are flushed, then the
 * free pools of all heaps and all free arenas are released, then the system allocator is asked the same with `pad` (the
 * bytes it may keep at its top, malloc_trim(3)). Blocks in the magazines of other threads stay there. Returns 1 when
 * memory was given back, else 0. */
PM_API int pm_trim(size_t pad) PM_NOEXCEPT;

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

#define PM_CLASS_COUNT 64 /* size classes: 8, 16, ..., 512 bytes */

/* This one stays as it is. */
struct pm_class_stats {
    size_t block_size;       /* bytes */
    size_t pools;            /* pools assigned to the class now */
    size_t blocks_in_use;    /* blocks the program holds */
    size_t blocks_magazine;  /* free blocks waiting in magazines */
    size_t blocks_free;      /* free blocks in the pools */
    uint64_t refilled;       /* blocks that ever moved from pools to magazines */
    uint64_t flushed;        /* blocks that ever moved back */
    uint64_t flushed_remote; /* those of them that were freed by a thread other than the owner's */
    uint64_t refills;        /* batches that moved from pools to magazines */
    uint64_t flushes;        /* batches that moved back */
};

struct pm_stats {
    size_t region_bytes;    /* address space reserved; 0 when there is no region */
    size_t committed_bytes; /* the part of it made accessible so far */
    size_t arenas;          /* arenas that heaps own */
    size_t arenas_peak;
    size_t arenas_free;      /* arenas given back to the region */
    size_t arenas_free_dirty; /* those of them whose pages the kernel still holds for us */
    size_t pools;            /* pools assigned to classes */
    size_t pools_free;       /* free pools in owned arenas */
    size_t pools_free_dirty; /* those of them whose pages the kernel still holds for us */
    size_t pools_reserved;   /* pools set aside for a class that has not used them yet */
    size_t pools_maps;       /* pools that hold the free-block maps of the 8-byte class; pools + pools_free +
                              * pools_reserved + pools_maps is 63 for each arena */
    size_t bytes_in_use;     /* bytes of blocks the program holds */
    size_t bytes_magazine;
    size_t bytes_free; /* bytes of free blocks in pools */
    size_t heaps;
    size_t heaps_parked;         /* heaps whose thread has exited */
    size_t metadata_bytes;       /* descriptors, heaps and their magazines */
    uint64_t system_allocations; /* requests passed to the system allocator by threads with a heap */
    uint64_t system_bytes;       /* bytes asked for by them */
    size_t system_magazine_blocks; /* blocks of the system allocator waiting in magazines */
    size_t system_magazine_bytes;
    struct pm_class_stats classes[PM_CLASS_COUNT];
    /* New fields come here. */
};

/* Fills the first `size` bytes of `stats` and returns the size of the structure that the library knows. Later versions
 * add fields at its end and change nothing in front of them, so a program and a library of different versions agree on
 * the fields that both have: an older program gets those it knows, and nothing behind them is written; a newer one gets
 * 0 in those that the library does not know, which lie behind the size returned.
 *
 * No lock is taken: while other threads allocate each row is true to itself (in use + in magazines + free = capacity),
 * and the rows are a moment apart. Costs a system call for each arena. When there is no memory to gather it, all is 0
 * but block_size. */
PM_API size_t pm_stats_get_sized(struct pm_stats *stats, size_t size) PM_NOEXCEPT;

/* The same for the structure that the program was compiled with. */
static inline size_t
pm_stats_get(struct pm_stats *stats) PM_NOEXCEPT
{
    return pm_stats_get_sized(stats, sizeof *stats);
}

/* Writes all that is known to the file descriptor `fd`: size classes, arenas, heaps, totals, and an account of the
 * resident memory; as text of at most 100 columns, and as JSON (docs/statistics.schema.json). Nothing is allocated but a
 * mapping that is gone afterwards. errno is kept. */
PM_API void pm_stats_print(int fd) PM_NOEXCEPT;
PM_API void pm_stats_print_json(int fd) PM_NOEXCEPT;

/* PM_VERSION_STRING of the library that is loaded. */
PM_API const char *pm_version(void) PM_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
