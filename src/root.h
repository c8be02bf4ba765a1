/* SPDX-License-Identifier: MIT
 *
 * The root: where a reader of a process's memory finds the heap. A note (note.h) says where it is, and the shared library
 * exports it under the name pm_root; from it on everything is reached by pointers, so that the reader needs neither debug
 * information nor the process's help.
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
#define PM_ROOT_LAYOUT 2u

/* What was asked for, where every call is seen: in the checking mode. Sizes as the program gave them. */
struct pm_requests {
    _Atomic uint64_t count, bytes;
};

struct pm_root {
    char magic[8];
    uint32_t layout, root_bytes;
    uint64_t fingerprint; /* of the lists below */
    char version[16];
    /* The geometry, for readers that want no more than to say what they see. */
    uint32_t pool_shift, arena_shift, chunk_shift, class_count;

    const struct pm_region *region;
    const struct pm_region_books *books;
    struct pm_heap *const *const *heaps; /* all, linked by next */
    const struct pm_options *options;
    const struct pm_requests *requests; /* one for each class, from 0 on */
};

/* Every field that readers read. Where it lies and how large it is goes into the fingerprint, so that a library whose
 * structures have changed is recognised as another one. tests/unit/snapshot.c shows that nothing else is read, and that
 * each of these is. */
#define PM_ROOT_FIELDS(FIELD)                                                                                          \
    FIELD(pm_root, magic)                                                                                              \
    FIELD(pm_root, layout)                                                                                             \
    FIELD(pm_root, root_bytes)                                                                                         \
    FIELD(pm_root, fingerprint)                                                                                        \
    FIELD(pm_root, version)                                                                                            \
    FIELD(pm_root, pool_shift)                                                                                         \
    FIELD(pm_root, arena_shift)                                                                                        \
    FIELD(pm_root, chunk_shift)                                                                                        \
    FIELD(pm_root, class_count)                                                                                        \
    FIELD(pm_root, region)                                                                                             \
    FIELD(pm_root, books)                                                                                              \
    FIELD(pm_root, heaps)                                                                                              \
    FIELD(pm_root, options)                                                                                            \
    FIELD(pm_root, requests)                                                                                           \
    FIELD(pm_region, arenas)                                                                                           \
    FIELD(pm_region, base)                                                                                             \
    FIELD(pm_region, size)                                                                                             \
    FIELD(pm_region_books, free_arenas)                                                                                \
    FIELD(pm_region_books, dirty_arenas)                                                                               \
    FIELD(pm_region_books, committed_chunks)                                                                           \
    FIELD(pm_region_books, counts)                                                                                     \
    FIELD(pm_region_counts, reserved_bytes)                                                                            \
    FIELD(pm_region_counts, committed_bytes)                                                                           \
    FIELD(pm_region_counts, arenas_peak)                                                                               \
    FIELD(pm_region_counts, arenas_free)                                                                               \
    FIELD(pm_options, alignment)                                                                                       \
    FIELD(pm_options, check)                                                                                           \
    FIELD(pm_requests, count)                                                                                          \
    FIELD(pm_requests, bytes)                                                                                          \
    FIELD(pm_heap, classes)                                                                                            \
    FIELD(pm_heap, state)                                                                                              \
    FIELD(pm_heap, next)                                                                                               \
    FIELD(pm_heap, slots_used)                                                                                         \
    FIELD(pm_heap, slots_count)                                                                                        \
    FIELD(pm_heap, system_allocations)                                                                                 \
    FIELD(pm_heap, system_bytes)                                                                                       \
    FIELD(pm_heap, magazines)                                                                                          \
    FIELD(pm_class_pools, counts)                                                                                      \
    FIELD(pm_class_counts, refilled)                                                                                   \
    FIELD(pm_class_counts, flushed)                                                                                    \
    FIELD(pm_class_counts, flushed_remote)                                                                             \
    FIELD(pm_class_counts, refills)                                                                                    \
    FIELD(pm_class_counts, flushes)                                                                                    \
    FIELD(pm_magazine, top)                                                                                            \
    FIELD(pm_magazine, limit)                                                                                          \
    FIELD(pm_magazine, capacity)                                                                                       \
    FIELD(pm_arena, free_pools)                                                                                        \
    FIELD(pm_arena, dirty_pools)                                                                                       \
    FIELD(pm_arena, heap)                                                                                              \
    FIELD(pm_arena, wide_maps)                                                                                         \
    FIELD(pm_pool, map)                                                                                                \
    FIELD(pm_pool, class)

#define PM_ROOT_POINTEE(type, field) sizeof *((struct type *)0)->field

/* The other numbers that readers count on: sizes of what is read whole or in a row, of what pointers lead to, and the
 * geometry beyond that in the root. */
#define PM_ROOT_NUMBERS(NUMBER)                                                                                        \
    NUMBER(heap, sizeof(struct pm_heap))                                                                               \
    NUMBER(class_pools, sizeof(struct pm_class_pools))                                                                 \
    NUMBER(magazine, sizeof(struct pm_magazine))                                                                       \
    NUMBER(requests, sizeof(struct pm_requests))                                                                       \
    NUMBER(free_arenas, PM_ROOT_POINTEE(pm_region_books, free_arenas))                                                 \
    NUMBER(dirty_arenas, PM_ROOT_POINTEE(pm_region_books, dirty_arenas))                                               \
    NUMBER(committed_chunks, PM_ROOT_POINTEE(pm_region_books, committed_chunks))                                       \
    NUMBER(parked, PM_HEAP_PARKED)                                                                                     \
    NUMBER(descriptor, PM_DESCRIPTOR_SIZE)                                                                             \
    NUMBER(wide_class, PM_CLASS_WIDE)                                                                                  \
    NUMBER(wide_words, PM_WIDE_MAP_WORDS)                                                                              \
    NUMBER(chunks, PM_CHUNK_MAX)                                                                                       \
    NUMBER(magazines, PM_MAGAZINE_COUNT)                                                                               \
    NUMBER(magazine_doublings, PM_MAGAZINE_DOUBLINGS)                                                                  \
    NUMBER(magazine_bytes, PM_MAGAZINE_BYTES)                                                                          \
    NUMBER(magazine_large_bytes, PM_MAGAZINE_LARGE_BYTES)                                                              \
    NUMBER(magazine_large_min, PM_MAGAZINE_LARGE_MIN)                                                                  \
    NUMBER(magazine_min, PM_MAGAZINE_MIN)                                                                              \
    NUMBER(magazine_max, PM_MAGAZINE_MAX)                                                                              \
    NUMBER(table_max, PM_TABLE_MAX)                                                                                    \
    NUMBER(cached_max, PM_CACHED_MAX)                                                                                  \
    NUMBER(cached_steps, PM_CACHED_STEPS)                                                                              \
    NUMBER(system_step, PM_SYSTEM_STEP)                                                                                \
    NUMBER(system_bias, PM_SYSTEM_BIAS)

/* The fingerprint is the sum of the rows, each times a factor that belongs to its place in the lists. */
#define PM_ROOT_NAME_FIELD(type, field) PM_ROOT_ROW_##type##_##field,
#define PM_ROOT_NAME_NUMBER(name, value) PM_ROOT_ROW_##name,
enum { PM_ROOT_FIELDS(PM_ROOT_NAME_FIELD) PM_ROOT_NUMBERS(PM_ROOT_NAME_NUMBER) PM_ROOT_ROWS };

#define PM_ROOT_SPREAD(place) (((uint64_t)(place) + 1) * UINT64_C(0x9e3779b97f4a7c15))
#define PM_ROOT_FACTOR(place) ((PM_ROOT_SPREAD(place) ^ PM_ROOT_SPREAD(place) >> 29) * UINT64_C(0xbf58476d1ce4e5b9))
#define PM_ROOT_ROW(place, offset, size)                                                                               \
    (PM_ROOT_FACTOR(place) * ((uint64_t)(offset)*UINT64_C(1000003) + (uint64_t)(size)))
#define PM_ROOT_ADD_FIELD(type, field)                                                                                 \
    +PM_ROOT_ROW(PM_ROOT_ROW_##type##_##field, offsetof(struct type, field), sizeof((struct type *)0)->field)
#define PM_ROOT_ADD_NUMBER(name, value) +PM_ROOT_ROW(PM_ROOT_ROW_##name, 0, value)

#define PM_ROOT_FINGERPRINT (0 PM_ROOT_FIELDS(PM_ROOT_ADD_FIELD) PM_ROOT_NUMBERS(PM_ROOT_ADD_NUMBER))

extern const struct pm_root pm_root;
extern struct pm_requests pm_requests[PM_CLASS_LAST + 1];

#endif
