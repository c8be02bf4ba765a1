/* SPDX-License-Identifier: MIT
 *
 * Objects, types and heaps: what all files of the object library know. Layer 0 of src/object; uses compiler.h and the
 * public header.
 *
 *   block of a pool    [ header 8 | payload ]             an object's address is that of its payload
 *   type with items    [ item count 8 | header 8 | payload ]
 *   large object       [ table entry 16 | item count 8 | header 8 | payload ], a block of malloc
 *
 * The header: 32 bits count, 8 flags, 24 bits number of the type. Number 0 is no object: every block of a pool that is
 * not an object has a header of 0, so pools are walked without lists.
 *
 * The count:
 *   1 .. INT32_MAX          that many references
 *   0xC0000000 + count      shared: changed atomically, in line too
 *   0x80000000 + ..., by the flags and the heap
 *                           DYING: the link to the next object of the release stack (release.c)
 *                           0xA0000000 + count in watched heaps (debug modes), so that inline code calls functions
 *                           else immortal
 *
 * Invariants: a collection writes to no object but garbage. Flags change only in the object's own slow paths.
 * Everything that a release needs exists already.
 */
#ifndef PO_OBJECT_H
#define PO_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../compiler.h"
#include "poolobject.h"

/* Everything here is read without asking the global offset table where it is. */
#pragma GCC visibility push(hidden)

struct po_header {
    uint32_t count;
    uint32_t info; /* number << 8 | flags */
} __attribute__((may_alias));

_Static_assert(sizeof(struct po_header) == 8, "a header is 8 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the count is the header's first half");

enum {
    PO_MARKED = 1,     /* scratch: of the young log while it is compacted; of a link on the release stack */
    PO_UNTRACKED = 2,  /* of an acyclic type */
    PO_LARGE = 4,      /* not in a pool */
    PO_HAS_WEAK = 8,   /* weak references to it are in the heap's table */
    PO_INTERNED = 16,  /* a string in the heap's table */
    PO_FINALIZED = 32, /* its finalizer has run */
    PO_SHARED = 64,
    PO_DYING = 128,    /* its count is 0: on the release stack, or being released */
};
#define PO_FLAG_MASK 255u
#define PO_NUMBER_SHIFT 8
#define PO_NUMBER_MAX ((1u << 24) - 1)

#define PO_IMMORTAL_COUNT UINT32_C(0x80000000)
#define PO_SHARED_MASK UINT32_C(0x3FFFFFFF)
#define PO_WATCHED_COUNT UINT32_C(0xA0000000)
#define PO_WATCHED_MASK UINT32_C(0x1FFFFFFF)

/* A stack of free blocks of one size, and the pools behind it (store.h). */
struct po_magazine {
    void **top, **bottom, **end;
    struct po_pool *first, *last; /* pools with free blocks */
    struct po_arena *run_arena;   /* pools reserved for the magazine and not used yet */
    uint8_t run_next, run_count;
    uint8_t kind;
    uint8_t units; /* a block's size / 8 */
    uint16_t start; /* where a pool's first object lies */
    uint32_t pools, empty_pools;
};

/* What references an object can have. */
enum { PO_HAS_ITEMS = 1, PO_HAS_TRAVERSE = 2 };

struct po_type {
    uint64_t fresh;               /* header of a new object */
    struct po_magazine *magazine; /* of objects without items; po_no_magazine: po_new is for the slow path */
    struct po_magazine *quick;    /* where an object goes that dies; NULL: the slow path. For objects of one size, with
                                   * no references but those of the table, no functions, in a heap without
                                   * peculiarities: nothing frozen, no guests, not watched */
    po_heap *heap;
    const uint16_t *references;
    uint32_t reference_count;
    uint32_t words;               /* to be zeroed, 8 bytes each */
    bool tracked;
    uint8_t shape;
    bool has_items;
    void (*clear)(void *object);
    void (*finalize)(void *object);
    void (*destroy)(void *object);
    void (*traverse)(void *object, po_visitor *visit, void *context);
    size_t size, item_size;
    uint32_t number, flags;
    const char *name;
    struct po_type *next; /* of the heap */
    uint32_t place;       /* scratch: in the heap's list */
    uint64_t reported[4]; /* debug: undeclared references at these words were reported */
    uint64_t collected;   /* found by collections */
    size_t bytes;         /* of this struct with its tables */
};

/* A growing array in memory of its own. */
struct po_array {
    void **items;
    size_t count, capacity;
};

struct po_large;   /* store.h */
struct po_carries; /* carry.h */

enum { PO_DEBUG_LEAK = 1, PO_DEBUG_TORTURE = 2, PO_DEBUG_VERIFY = 4, PO_DEBUG_THREAD = 8, PO_DEBUG_STATS = 16 };

#define PO_KINDS 8 /* PO_KIND_ACYCLIC | PO_KIND_ITEMS | PO_KIND_ALIGN_16 */
#define PO_UNITS 65

struct po_heap {
    uint64_t magic;
    uint64_t serial; /* of this use of the struct: no other heap ever has it */
    uint32_t watched; /* debug modes that want every call; 0: none */
    uint32_t debug;

    /* ---- store.c ---- */
    struct po_arena **arenas; /* by slot; NULL: free */
    uint32_t arena_count, arena_capacity;
    struct po_arena *open_arenas[2]; /* with free pools: tracked, acyclic */
    struct po_magazine *magazines[PO_KINDS][PO_UNITS];
    struct po_magazine *magazine_memory, *magazine_end;
    size_t pools, empty_pools;
    struct po_large **large; /* NULL or odd: free */
    uint32_t large_count, large_capacity, large_free, large_alive;
    size_t large_bytes;
    size_t used_bytes;   /* blocks handed out, and large objects */
    size_t memory_limit;
    void *_Atomic remote; /* blocks of shared objects that died, linked through their first word */
    struct po_guests *guests; /* objects of ours in arenas of other heaps */
    size_t guest_arenas;
    uint64_t *frozen_bits; /* by granule of 16 bytes: 256 for each pool of each slot below frozen_slots */
    uint32_t frozen_slots;
    size_t frozen;         /* objects */

    /* ---- release.c ---- */
    void *dying;       /* the release stack, and its large objects */
    void *dying_large;
    bool releasing, zombies;
    unsigned release_depth;

    /* ---- young.c, old.c, collect.c ---- */
    uint32_t young_count; /* net tracked allocations since the last collection */
    uint32_t young_limit; /* beyond this po_new takes the slow path */
    uint32_t young_due;   /* beyond this a young collection is due */
    void **log_top, **log_end;
    struct po_array young, middle;
    struct po_array members; /* memory for a young collection */
    bool young_is_large;  /* the limit is more than the threshold: what survives is old at once */
    bool young_lost;      /* the log was given up: the young are among the old */
    unsigned threshold[3], counts[3];
    bool threshold_is_default, enabled, collecting;
    int collect_mode;
    uint64_t max_pause_ns;
    size_t old_total, old_pending;   /* objects that survived the last full collection; promoted since */
    size_t bytes_after_full, bytes_after_any;
    size_t bytes_at_begin, bytes_at_step; /* of the steps under way: at the first, at the last one */
    struct po_gc_stats stats[3];
    void (*callback)(po_heap *, bool, int, void *);
    void *callback_context;
    struct po_old *old;   /* tables of a collection under way */
    struct po_sides *sides;
    uint64_t put_off;     /* collections, for want of memory */
    const po_type *traversing; /* debug: whose traverse is running */
    const char *destroying;

    /* ---- weak.c, string.c ---- */
    struct po_weak_table *weak_table;
    struct po_weak *weak_free;
    struct po_weak_page *weak_pages;
    size_t weak_count, weak_owned; /* owned: of these, with an owner */
    struct po_carries *condemned;  /* while garbage ends: its objects, if an owner may be among them */
    bool ending;                   /* blocks of the condemned may have new objects in them */
    struct po_strings *strings;
    po_type *string_type, *int_type;
    void *small_ints; /* array */

    /* ---- types ---- */
    po_type *types;
    bool has_finalizers;

    uint64_t owner; /* debug: a thread's number */
    size_t bytes;   /* of this struct */
};

#define PO_HEAP_MAGIC UINT64_C(0x706f6f6c6f626a31)
#define PO_HEAP_DEAD UINT64_C(0x706f6f6c64656164)

extern struct po_magazine po_no_magazine;
/* By number; entry 0 is a type without a heap. Filled in by type.c, never moved. */
extern po_type **po_types;

PM_INLINE struct po_header *
po_header(const void *object)
{
    return (struct po_header *)((char *)object - sizeof(struct po_header));
}

PM_INLINE uint64_t *
po_items_word(const void *object)
{
    return (uint64_t *)((char *)object - 16);
}

PM_INLINE uint32_t
po_read_info(const struct po_header *header)
{
    return __atomic_load_n(&header->info, __ATOMIC_RELAXED);
}

/* Every change of an object's own: another heap's thread may look at it in a pool that both have objects in. */
PM_INLINE void
po_write_info(struct po_header *header, uint32_t info)
{
    __atomic_store_n(&header->info, info, __ATOMIC_RELAXED);
}

/* There is no object any more. */
PM_INLINE void
po_clear_header(struct po_header *header)
{
    header->count = 0;
    po_write_info(header, 0);
}

PM_INLINE po_type *
po_type_at(uint32_t info)
{
    return po_types[info >> PO_NUMBER_SHIFT];
}

PM_INLINE po_type *
po_type_in(const void *object)
{
    return po_type_at(po_read_info(po_header(object)));
}

PM_INLINE bool
po_has_flag(const void *object, uint32_t flag)
{
    return (po_read_info(po_header(object)) & flag) != 0;
}

/* The references to an object that is not dying; UINT32_MAX for an immortal one. */
PM_INLINE uint32_t
po_count_of(const struct po_header *header)
{
    uint32_t count = __atomic_load_n(&header->count, __ATOMIC_RELAXED);
    if (PM_LIKELY((int32_t)count >= 0))
        return count;
    if (count >= PO_SHARED_COUNT)
        return count & PO_SHARED_MASK;
    return count >= PO_WATCHED_COUNT ? count & PO_WATCHED_MASK : UINT32_MAX;
}

/* ---- Visiting references ---- */

/* For types whose traverse runs; in release.c's neighbour visit.c. */
void po_visit_rest(void *object, const po_type *type, po_visitor *visit, void *context);

/* Calls `visit` for each reference of an object that is not NULL. `visit` is a constant, so that it is inlined. */
PM_INLINE void
po_visit(void *object, const po_type *type, po_visitor *visit, void *context)
{
    const uint16_t *offsets = type->references;
    for (uint32_t i = 0; i < type->reference_count; i++) {
        void *referent = *(void **)((char *)object + offsets[i]);
        if (referent != NULL)
            visit(referent, context);
    }
    if (PM_UNLIKELY(type->shape != 0))
        po_visit_rest(object, type, visit, context);
}

/* ---- fault.c ---- */

/* One line on stderr, then SIGABRT. `first` and `second` are types for the line's two %; may be NULL. */
_Noreturn void po_fault(const char *format, const po_type *first, const po_type *second);
_Noreturn void po_fault_call(const char *call, const char *what);
void po_say(const char *format, const char *first, const char *second, uint64_t number);

/* Ends the program for a heap that is NULL or destroyed. */
void po_check_heap_slow(po_heap *heap, const char *call);

PM_INLINE void
po_check_heap(po_heap *heap, const char *call)
{
    if (PM_UNLIKELY(heap == NULL || heap->magic != PO_HEAP_MAGIC || heap->watched != 0))
        po_check_heap_slow(heap, call);
}

/* Debug: this thread owns the heap, and no traverse is running. */
void po_check_use(po_heap *heap, const char *call);

/* ---- memory.c: zeroed memory in whole pages, NULL when there is none ---- */

void *po_map(size_t bytes);
void *po_map_large(size_t bytes);
void po_unmap(void *memory, size_t bytes);
bool po_array_reserve(struct po_array *array, size_t capacity);
void po_array_free(struct po_array *array);
uint64_t po_now(void); /* nanoseconds */
/* Tests: this many more requests for memory succeed; -1: all. Of the calling process. */
extern int po_memory_budget;
bool po_memory_allowed(void);

PM_INLINE bool
po_array_push(struct po_array *array, void *item)
{
    if (PM_UNLIKELY(array->count == array->capacity) && !po_array_reserve(array, array->count + 1))
        return false;
    array->items[array->count++] = item;
    return true;
}

/* ---- type.c ---- */

bool po_types_start(void);
po_type *po_type_make(po_heap *heap, const struct po_type_spec *spec);
void po_types_destroy(po_heap *heap);
/* After a peculiarity of the heap has begun or ended: which types are quick. */
void po_types_set_quick(po_heap *heap);

/* ---- release.c ---- */

/* Releases an object whose count came to 0, of a heap that is not shared. */
void po_release(void *object, po_heap *heap);
/* Drops what the object refers to; the slots become NULL. */
void po_drop_references(void *object, const po_type *type);
/* Runs the finalizer if there is one that has not run. */
void po_run_finalizer(void *object, const po_type *type);
/* Without the reference count: its references are gone; destroy and give the block back. */
void po_bury(void *object, po_heap *heap, const po_type *type);

/* ---- young.c ---- */

bool po_young_start(po_heap *heap);
void po_young_log_slow(po_heap *heap, void *entry); /* po_entry_of in store.h */
/* Removes what died from the logs. */
void po_young_compact(po_heap *heap);
/* After a transfer: removes what belongs to another heap now. */
void po_young_remove_foreign(po_heap *heap);
void po_young_sync(po_heap *heap);
void po_young_forget(po_heap *heap);
void po_young_set_limit(po_heap *heap);
size_t po_young_collect(po_heap *heap, int generation, bool *put_off);

PM_INLINE void
po_young_log(po_heap *heap, void *entry)
{
    void **top = heap->log_top;
    if (PM_LIKELY(top != heap->log_end)) {
        *top = entry;
        heap->log_top = top + 1;
    } else {
        po_young_log_slow(heap, entry);
    }
}

/* ---- collect.c ---- */

void po_collect_if_due(po_heap *heap);
size_t po_collect_now(po_heap *heap, int generation);
/* More memory is in use than when the last collection was. */
void po_collect_pace(po_heap *heap);

/* ---- old.c ---- */

/* The unreachable among all tracked objects, and how many others there are. False: no memory. */
bool po_old_collect(po_heap *heap, struct po_array *garbage, size_t *survivors);

/* The same while the program runs: begin; step until true, which is up to `work` objects, and none after the deadline;
 * guess, which verifies what the steps have found. Ends itself, or by po_old_end at any time. */
bool po_old_begin(po_heap *heap);
bool po_old_step(po_heap *heap, uint64_t deadline, size_t work);
bool po_old_guess(po_heap *heap, struct po_array *garbage, size_t *survivors);
void po_old_end(po_heap *heap);
/* The objects became old since po_old_begin: not this time. */
void po_old_exclude(po_heap *heap, void *const *objects, size_t count);
size_t po_old_bytes(const po_heap *heap);

/* ---- subset.c ---- */

/* Moves those of `members` that nothing outside refers to, nor what that reaches, to the array's end; returns how many
 * stay in front. `held`: each member has one reference more, the collector's. Members are distinct, tracked objects of
 * the heap. False: no memory, and nothing was done. */
bool po_subset_split(po_heap *heap, struct po_array *members, uint32_t held, size_t *reachable);

/* Moves objects of the heap that are no members of any trial, being frozen or shared, to the array's end; returns how
 * many stay in front. */
size_t po_subset_members(po_heap *heap, struct po_array *objects);

/* Memory for a trial of these members. */
bool po_subset_reserve(po_heap *heap, const struct po_array *members);
void po_subset_end(po_heap *heap);
size_t po_subset_bytes(const po_heap *heap);

/* Ends the program if `object`, which an object of the heap refers to, is one of another heap that is not shared. */
void po_check_foreign(const po_heap *heap, const void *object);
/* Ends the program: more references to the object were found than it counts. Names a type that refers to it. */
_Noreturn void po_fault_count(po_heap *heap, const void *object);

/* ---- dispose.c ---- */

/* Finalizes, clears and destroys `garbage`; what is resurrected is left alive. Returns how many were not. */
size_t po_dispose(po_heap *heap, struct po_array *garbage, uint64_t *uncollectable, bool *put_off);

/* ---- weak.c ---- */

void po_weak_object_dies(po_heap *heap, void *object); /* by its count: clears and calls */
/* These objects are condemned, until heap->condemned is NULL again: a weak reference that one of them owns is not
 * called, whenever its subject dies. They are spared again if they are resurrected. False: no memory. */
bool po_weak_condemn(po_heap *heap, void *const *objects, size_t count);
void po_weak_spare(po_heap *heap, void *const *objects, size_t count);
/* Of condemned objects: clears those with a callback and calls them; then, later, all. */
bool po_weak_clear_called(po_heap *heap, void **objects, size_t count); /* true: some were called */
void po_weak_clear_all(po_heap *heap, void *object);
void po_weak_heap_dies(po_heap *heap);
bool po_weak_any(po_heap *heap);

/* ---- string.c ---- */

void po_string_forget(po_heap *heap, void *string);
size_t po_strings_count(const po_heap *heap);
void po_strings_destroy(po_heap *heap);

/* ---- debug.c ---- */

void po_debug_start(po_heap *heap);
void po_debug_end(po_heap *heap, struct po_array *outside);
void po_debug_leaks(po_heap *heap, struct po_array *outside);
void po_debug_scan(po_heap *heap);
uint64_t po_thread_number(void);

/* ---- verify.c ---- */

/* Objects with more references than the heap's own objects hold, from outside; NULL on want of memory is false. Ends
 * the program when there are fewer. */
bool po_verify_counts(po_heap *heap, struct po_array *outside);

#pragma GCC visibility pop

#endif
