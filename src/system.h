/* SPDX-License-Identifier: MIT
 *
 * The system allocator: whatever serves malloc behind poolmalloc. The one place that knows it. Three backends fill the
 * table, one of them in each library:
 *   system_next.c   the next definition of the same names in the process (preloaded, or linked dynamically)
 *   system_own.c    the names themselves (the library with the pm_* interface only, which replaces nothing)
 *   system_wrap.c   the linker's __real_ names (fully static programs)
 * Until the table is filled, and where there is nothing to fill it with, every request gets a mapping of its own
 * (system_map.c). Layer 1: uses os.h, lock.h, and the numbering of magazine.h.
 */
#ifndef PM_SYSTEM_H
#define PM_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

struct pm_system_info {
    size_t obtained_bytes; /* from the kernel, mappings included */
    size_t mapped_bytes;   /* in blocks with a mapping of their own */
    size_t mapped_blocks;
    size_t used_bytes;     /* in blocks in use, mapped ones included */
    size_t free_bytes;
    size_t trimmable_bytes;
};

struct pm_system {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size); /* a power of two */
    size_t (*usable_size)(void *block);
    /* Found out at the start (pm_system_probe): whether a block that was asked for in a magazine's size is recognised by
     * its usable size and may wait there, and which bits are 0 in the address of each block. */
    bool keeps_sizes;
    uintptr_t unused_bits;
    /* May be NULL. */
    int (*trim)(size_t pad);
    int (*option)(int parameter, int value);
    void (*info)(struct pm_system_info *info);
};

extern struct pm_system pm_system;

#ifdef __GLIBC__
static inline void
pm_system_info_of_glibc(struct pm_system_info *info, struct mallinfo2 found)
{
    *info = (struct pm_system_info){
        .obtained_bytes = found.arena + found.hblkhd,
        .mapped_bytes = found.hblkhd,
        .mapped_blocks = found.hblks,
        .used_bytes = found.uordblks + found.hblkhd,
        .free_bytes = found.fordblks,
        .trimmable_bytes = found.keepcost,
    };
}
#endif

/* Finds out whether the blocks it gives can wait in magazines. It allocates. */
void pm_system_probe(void);

/* mallopt(3): 0 when there is nobody to ask. */
int pm_system_option(int parameter, int value);

/* Fills the table. Called once, when the library starts and the pools work already. It may allocate. */
void pm_system_resolve(void);

/* Whether dlclose can take this code away: that of a plugin that contains the library with the pm_* interface. And that
 * it must not, from now on. */
bool pm_system_may_go(void);
void pm_system_stay(void);

/* The pointers must be ones the system allocator, or system_map.c, returned. Freeing keeps errno. */
void pm_system_free(void *block);
void *pm_system_realloc(void *block, size_t size);
size_t pm_system_usable_size(void *block);

/* In the layer that replaces malloc (override.c). */
extern const char pm_override_anchor;

/* ---- system_map.c: a mapping for each block ---- */

void *pm_map_malloc(size_t size);
void pm_map_free(void *block);
void *pm_map_calloc(size_t count, size_t size);
void *pm_map_realloc(void *block, size_t size);
void *pm_map_memalign(size_t alignment, size_t size);
size_t pm_map_usable_size(void *block);
void pm_map_info(struct pm_system_info *info);
bool pm_map_owns(const void *block);
/* In a forked child. */
void pm_map_mend(void);

extern struct pm_lock pm_map_lock;
extern size_t pm_map_count; /* blocks alive */

#endif
