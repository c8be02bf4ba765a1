/* SPDX-License-Identifier: MIT
 *
 * The root: where a reader of a process's memory finds the heap. The library exports it under the name pm_root; from it
 * on everything is reached by pointers, so that the reader needs neither debug information nor the process's help.
 *
 * A reader is built from the same headers as the library it reads. It compares `layout`, `fingerprint` and `root_bytes`
 * with its own before it believes anything else. Layer 4: uses heap.h, region.h, options.h.
 */
#ifndef PM_ROOT_H
#define PM_ROOT_H

#include "heap.h"
#include "options.h"
#include "region.h"

#define PM_ROOT_MAGIC "pmroot\n" /* 8 bytes with its end */
/* Grows when a structure below changes its meaning without changing its shape. */
#define PM_ROOT_LAYOUT 1u

/* What was asked for, where every call is seen: in the checking mode. Sizes as the program gave them. */
struct pm_requests {
    _Atomic uint64_t count, bytes;
};

struct pm_root {
    char magic[8];
    uint32_t layout, root_bytes;
    uint64_t fingerprint; /* sizes and offsets of what is read */
    char version[16];
    /* The geometry, for readers that want no more than to say what they see. */
    uint32_t pool_shift, arena_shift, chunk_shift, class_count;

    const struct pm_region *region;
    const struct pm_region_books *books;
    struct pm_heap *const *const *heaps; /* all, linked by next */
    const struct pm_options *options;
    const struct pm_requests *requests; /* one for each class, from 0 on */
};

#define PM_ROOT_MIX(sum, number) ((sum) * UINT64_C(31) + (number))
#define PM_ROOT_MIX4(sum, a, b, c, d) PM_ROOT_MIX(PM_ROOT_MIX(PM_ROOT_MIX(PM_ROOT_MIX(sum, a), b), c), d)

#define PM_ROOT_OF_ARENA                                                                                   \
    PM_ROOT_MIX4(PM_ROOT_MIX(offsetof(struct pm_arena, wide_maps), sizeof(struct pm_arena)),                 \
                 offsetof(struct pm_arena, free_pools), offsetof(struct pm_arena, dirty_pools),              \
                 offsetof(struct pm_arena, heap), offsetof(struct pm_pool, map))
#define PM_ROOT_OF_HEAP                                                                                    \
    PM_ROOT_MIX4(PM_ROOT_MIX4(PM_ROOT_OF_ARENA, sizeof(struct pm_heap), sizeof(struct pm_class_pools),       \
                              sizeof(struct pm_magazine), PM_MAGAZINE_COUNT),                              \
                 offsetof(struct pm_heap, state), offsetof(struct pm_heap, next),                           \
                 offsetof(struct pm_heap, classes), offsetof(struct pm_heap, system_allocations))
#define PM_ROOT_FINGERPRINT                                                                                \
    PM_ROOT_MIX4(PM_ROOT_MIX4(PM_ROOT_OF_HEAP, offsetof(struct pm_pool, class),                             \
                              offsetof(struct pm_class_pools, counts), sizeof(struct pm_region_counts),    \
                              sizeof(struct pm_region_books)),                                             \
                 sizeof(struct pm_region), sizeof(struct pm_options), offsetof(struct pm_heap, slots_used),  \
                 sizeof(struct pm_requests))

extern const struct pm_root pm_root;
extern struct pm_requests pm_requests[PM_CLASS_LAST + 1];

#endif
