/* SPDX-License-Identifier: MIT
 *
 * The region: one reserved address range that all pools lie in. It begins with the page map, one byte for each of its
 * 4 KiB pages, that holds the size class of the page's pool (0: no blocks there); behind it lie the arenas. The region
 * becomes usable chunk by chunk, in address order, so that it takes few mappings: the usable part and the rest, of the
 * page map and of the arenas.
 *
 * A limit on address space counts what is reserved as if it were used. So when one is in the way, the part that is not
 * accessible yet goes back to the kernel, of the page map too, and from then on the region grows: each further chunk is
 * mapped when it is needed, at its place, where the kernel counts it, and goes back when it is the last and free. If
 * something else lies there by then, or the limit is reached, the region is full. The limit is looked at when the
 * program sets it (override_limit.c), when the kernel maps nothing more while a chunk is being made accessible, and when
 * the system allocator fails.
 *
 * The end of the region moves while other threads compare addresses with it, without the lock. They are right all the
 * same. The end falls before the addresses behind it go back to the kernel, and rises after they came from there: so
 * whoever got an address behind the end from the kernel sees an end below it, since the kernel's own lock orders the
 * two. A block of a new chunk exists only after the end has risen: the thread that took it held the region's lock or the
 * heap's since then, and others know it from that thread, by whatever synchronisation they use to pass it on. What is
 * neither, a wrong pointer, may be compared with the former end, and nothing more is promised of it at that moment.
 *
 * Free arenas are bits, one word for each chunk; the lowest free address is taken first. A free arena is dirty as long
 * as the kernel still holds memory for it; the highest ones are given back first.
 *
 * Huge pages: a heap that is large already gets them for the arenas that it takes anew, since it is going to use all of
 * their memory. A huge page holds eight arenas, a byte of the chunk's word. When part of its memory is given back it is
 * broken up; when all of its arenas are free the rest goes as well, and it can be a huge page again.
 *
 * Layer 2: uses os.h, lock.h, geometry.h. Everything but pm_region and the bytes of the page map is guarded by the
 * region's lock. A byte of the page map is written by whoever holds the lock of the arena's heap.
 */
#ifndef PM_REGION_H
#define PM_REGION_H

#include <stdbool.h>

#include "compiler.h"
#include "geometry.h"
#include "lock.h"

/* The first three are what a free reads. Only the arenas count as ours: of the page map in front of them a part may be
 * missing, and anything lie in its place. */
struct pm_region {
    uintptr_t arenas;   /* the first one's address */
    size_t granules;    /* of all arenas there is room for; 0 until the region is reserved, and when it cannot be */
    const uint8_t *map; /* the byte of the page map for `arenas` */
    uintptr_t base;     /* where the page map begins */
    size_t front;       /* so much in front of the arenas is mapped: the page map, all of it or a part */
    size_t size;        /* from the base to the end */
};

struct pm_region_counts {
    size_t reserved_bytes, committed_bytes;
    size_t arenas, arenas_peak; /* taken */
    size_t arenas_free, arenas_dirty;
};

/* Where the region keeps its books, for those who read them without the lock (snapshot.h). */
struct pm_region_books {
    const uint64_t *free_arenas, *dirty_arenas; /* a word for each chunk */
    const unsigned *committed_chunks;
    const struct pm_region_counts *counts;
};

extern const struct pm_region_books pm_region_books;
/* Hidden from the start, so that free reads it without asking the global offset table where it is. */
extern struct pm_region pm_region __attribute__((visibility("hidden")));
extern struct pm_lock pm_region_lock;

/* "Is this pointer ours?": one subtraction, one compare. */
PM_INLINE bool
pm_region_contains(const void *address)
{
    return ((uintptr_t)address - pm_region.arenas) >> PM_GRANULE_SHIFT < pm_region.granules;
}

/* Whether a pointer that is none of ours points to the page map: no block lies there. */
PM_INLINE bool
pm_region_in_front(const void *address)
{
    return (uintptr_t)address - pm_region.base < pm_region.front;
}

/* The byte of the page map for an address in the region. */
PM_INLINE uint8_t *
pm_region_page(const void *address)
{
    return (uint8_t *)pm_region.base + (((uintptr_t)address - pm_region.base) >> PM_POOL_SHIFT);
}

/* Reserves `size` bytes, or what is sensible when it is 0, or less when there is not so much. */
void pm_region_init(size_t size);

/* A free arena; the address is 0 when there is none. The page map of all its pages is 0. */
struct pm_region_arena {
    uintptr_t address;
    bool dirty; /* its memory is what it held before; else zero */
    bool huge;  /* it may lie in a huge page */
};

/* `large`: for a heap that is going to use all of the memory of a huge page. */
struct pm_region_arena pm_region_take_arena(bool large);
void pm_region_return_arena(uintptr_t arena);

/* Parts of the arena's memory are about to go back to the kernel: the huge page it may lie in is no longer worth one,
 * and the kernel is not to make one of it again. */
void pm_region_break_huge_page(uintptr_t arena);

/* A period is over: gives the memory of free arenas back to the kernel that is above the limit now (keep.h). True when
 * more periods may give back more. */
bool pm_region_age(uint64_t now);
/* The same of all; true when there was any. */
bool pm_region_purge(void);

/* Whether `wanted` bytes might come together if the region gave up everything, and all pools were empty. */
bool pm_region_can_give(size_t wanted);

/* What is left to a program that runs out of memory or of address space: the chunks at the end of the accessible part
 * whose arenas are all free go out of use. Nothing is done, and false returned, when that cannot amount to `wanted`
 * bytes. */
bool pm_region_decommit(size_t wanted);

/* What is reserved behind the accessible part goes back to the kernel; the region grows again when it has to. False,
 * with nothing done, when there is no limit on address space, which alone can be what is missing, or when that cannot
 * amount to `wanted` bytes. */
bool pm_region_shrink(size_t wanted);

/* The program has set a limit on address space: the same, if more is reserved than pm_region_init would have
 * reserved. */
void pm_region_obey_limit(void);

/* The last part of the program's life begins: the same in any case. */
void pm_region_finish(void);

void pm_region_counts(struct pm_region_counts *counts);

/* The taken arena at or behind `arena`, 0 when there is none; pass 0 to begin. An arena can be given back, or taken, as
 * soon as the call returns. */
uintptr_t pm_region_next_arena(uintptr_t arena);
bool pm_region_arena_is_taken(uintptr_t arena);

#endif
