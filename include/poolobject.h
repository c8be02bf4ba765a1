/* SPDX-License-Identifier: MIT
 *
 * poolobject: reference-counted objects, a generational collector of their cycles, weak references, interning.
 *
 * An object is memory of a type, zeroed, with a count of the references to it. po_decref of the last reference
 * releases it at once, and what only it referred to; rings of objects that refer to each other are found by the
 * collector. A type says where its objects keep references, which is all that the collector needs to know. A header
 * of 8 bytes lies in front of each object (16 when the type has items), so a node of two references takes 24 bytes.
 *
 * References, as the comments below name them:
 *   new       the caller owns it, and gives it back with po_decref or stores it with po_set_steal
 *   borrowed  the caller may use it while something else keeps the object alive
 *   stolen    the function takes over the reference that the caller owned
 * Arguments are borrowed unless their comment says otherwise.
 *
 * Threads: a heap, with its types, objects and weak references, is used by one thread at a time; two heaps may be used
 * by two threads at the same time and share no lock on any path that allocates, counts, releases or collects. Objects
 * that were passed to po_share may be counted and read by any thread. Under POOLOBJECT_DEBUG=thread a heap belongs to
 * the thread that created it, until another one calls po_heap_adopt, and any other use ends the program.
 *
 * Mistakes: a function that returns a pointer returns NULL with errno set (EINVAL for a wrong argument, ENOMEM when
 * there is no memory) where the caller can go on. Everything else that is a mistake of the program (a reference
 * released too often, a heap or weak reference used after it was destroyed, an object of another heap stored in an
 * object, a count that is smaller than the references found) is one line on stderr that begins with "poolobject: ",
 * and SIGABRT.
 *
 * No function may be called from a signal handler. No function is a cancellation point.
 */
#ifndef POOLOBJECT_H
#define POOLOBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PO_API __attribute__((visibility("default")))
#define PO_LIKELY(condition) __builtin_expect(!!(condition), 1)
#else
#define PO_API
#define PO_LIKELY(condition) (condition)
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct po_heap po_heap;
typedef struct po_type po_type;
typedef struct po_weak po_weak;
typedef void po_visitor(void *referent, void *context);

/* ---- Heaps ------------------------------------------------------------------------------------------------------ */

enum {
    PO_COLLECT_IN_NEW,         /* po_new and po_new_items collect when the thresholds say so */
    PO_COLLECT_AT_SAFEPOINTS,  /* only po_safepoint does */
    PO_COLLECT_BY_HAND,        /* only po_gc_collect and po_gc_step do */
};

struct po_heap_options {   /* zero: the defaults */
    unsigned threshold[3]; /* 0: 700, 10, 10; see po_gc_set_threshold */
    int collect;
    uint64_t max_pause_ns; /* how long a step of a collection of the old generation may take; 0: no bound. The last step
                            * verifies and releases the garbage it found, and takes as long as that takes. */
    size_t memory_limit;   /* bytes of pools and large objects; po_new collects, then returns NULL beyond; 0: none */
};

/* A new heap, with default options for NULL. NULL: ENOMEM, or EINVAL for an unknown `collect`. */
PO_API po_heap *po_heap_create(const struct po_heap_options *options);

/* Collects what is unreachable, then destroys all objects that are left, the types and the heap. Returns how many
 * objects were still referenced from outside: by more references than the heap's own objects hold, immortal ones not
 * counted. Those are destroyed without their finalizers being run; their weak references become NULL without a
 * callback. Weak references outlive the heap and are still to be destroyed. 0 for NULL. May not be called by a
 * finalizer, callback or visitor of the heap. */
PO_API size_t po_heap_destroy(po_heap *heap);

/* The calling thread takes the heap over from another one, which must be done with it. Needed only for
 * POOLOBJECT_DEBUG=thread, and free of charge without. */
PO_API void po_heap_adopt(po_heap *heap);

/* Ends the program and names the types if an object's count is less than the references found to it. Linear. */
PO_API void po_heap_verify(po_heap *heap);

struct po_heap_stats {
    size_t objects, bytes;    /* alive, with their headers */
    size_t tracked;           /* of these, objects that the collector may visit */
    size_t frozen, immortal, shared;
    size_t weak_references, interned;
    size_t held_bytes;        /* pools and large objects, used or not */
    size_t collector_bytes;   /* tables of the collector now */
    size_t young, middle;     /* objects in generation 0 and 1; some may have died since */
};

/* Linear in the number of objects. */
PO_API void po_heap_get_stats(po_heap *heap, struct po_heap_stats *stats);

/* Writes statistics of the heap to a file descriptor: totals, each type's objects and bytes, generations, pauses. As
 * text, or as one JSON object and a newline. */
PO_API void po_heap_print_stats(po_heap *heap, int fd, bool json);

/* ---- Types ------------------------------------------------------------------------------------------------------ */

#define PO_END UINT16_MAX /* ends a table of offsets */

#define PO_ACYCLIC 1u  /* never part of a cycle: the collector neither visits its objects nor triggers on them. They may
                        * hold references, to acyclic objects, or to others, which they then keep alive. */
#define PO_ALIGN_16 2u /* objects lie at multiples of 16, else of 8 */

struct po_type_spec {
    const char *name;             /* copied */
    size_t size;                  /* bytes of an object, up to 2^31, its header not counted */
    size_t item_size;             /* bytes of each item; 0: none. Items begin `size` bytes into the object. */
    const uint16_t *references;   /* of its strong references, multiples of 8, then PO_END; NULL: none. Copied. */
    bool items_are_references;    /* each item is one strong reference; item_size is 8, size a multiple of 8 */
    unsigned flags;
    /* For references in other places: calls visit(referent, context) once for each reference that the object holds
     * there, NULL ones left out or not. It must not allocate, count or release anything. */
    void (*traverse)(void *object, po_visitor *visit, void *context);
    /* Drops the references that traverse visits, with po_clear or alike. A ring in which nothing can be cleared is
     * uncollectable. Called once or more. */
    void (*clear)(void *object);
    /* Before the object dies, with everything it refers to still whole. Once in its life. May run any code, may store
     * new references to the object, which then lives on. */
    void (*finalize)(void *object);
    /* Gives back what is no object: memory, files. Its references are gone already. Must not touch other objects. */
    void (*destroy)(void *object);
};

/* A type, which lives as long as its heap. NULL: EINVAL for no heap, no specification, no name or an empty one, a size
 * above 2^31, an offset that is misaligned or does not end inside `size`, references in items of a wrong size, an
 * unknown flag; ENOMEM. */
PO_API po_type *po_type_create(po_heap *heap, const struct po_type_spec *spec);
PO_API const char *po_type_name(const po_type *type);

/* ---- Objects ---------------------------------------------------------------------------------------------------- */

/* A new reference to a new object, all zero. May collect before. NULL: ENOMEM, beyond the memory limit too, and
 * EINVAL for no type. Constant time but for a collection. */
PO_API void *po_new(po_type *type);
/* As po_new, with `count` items. NULL and EINVAL for a type without items, unless `count` is 0; NULL and ENOMEM when
 * the whole would be larger than PTRDIFF_MAX. */
PO_API void *po_new_items(po_type *type, size_t count);

PO_API size_t po_item_count(const void *object);   /* 0 for a type without items */
PO_API po_type *po_type_of(const void *object);
PO_API po_heap *po_heap_of(const void *object);

/* The header is part of the ABI, for the inline functions below and for compilers that generate code: the 32 bits at
 * object - 8 are the count. From 1 to INT32_MAX it is what it says. From PO_SHARED_COUNT on the object is shared: the
 * count is the difference, and changes atomically; beyond PO_SHARED_MAX it is for po_incref_slow. What else is
 * negative (immortal, being destroyed, or watched by a debug mode) is for the functions named _slow. A count beyond
 * INT32_MAX becomes negative, which is immortal. */
#define PO_SHARED_COUNT UINT32_C(0xC0000000)
#define PO_SHARED_MAX UINT32_C(0xF0000000)
PO_API void po_incref_slow(void *object);
PO_API void po_decref_slow(void *object);   /* also for a count of 1 */
PO_API void po_shared_release(void *object); /* a shared object's count has come to PO_SHARED_COUNT, or below it */

#ifdef PO_NO_INLINE
PO_API void *po_incref(void *object);
PO_API void po_decref(void *object);
#else
#if defined(__GNUC__)
#define PO_ALIAS __attribute__((may_alias))
#define PO_READ_COUNT(word) __atomic_load_n(word, __ATOMIC_RELAXED)
#define PO_IS_SHARED(count) ((count) >= PO_SHARED_COUNT && (count) < PO_SHARED_MAX)
#else
#error "without GNU C, define PO_NO_INLINE"
#endif
typedef uint32_t PO_ALIAS po_count_word;

/* One more reference, new, to `object`, which is returned. NULL is allowed. */
PO_API inline void *
po_incref(void *object)
{
    if (PO_LIKELY(object != NULL)) {
        po_count_word *word = (po_count_word *)object - 2;
        uint32_t count = PO_READ_COUNT(word);
        if (PO_LIKELY((int32_t)count >= 0))
            *word = count + 1;
        else if (PO_IS_SHARED(count))
            (void)__atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
        else
            po_incref_slow(object);
    }
    return object;
}

/* Gives a reference back (stolen). The last one releases the object: its finalizer runs, unless it has; its weak
 * references become NULL and are called; its references are dropped; it is destroyed. An object that is released
 * while another one is being released waits for its turn. Constant C stack, no memory, no failure. NULL is allowed. */
PO_API inline void
po_decref(void *object)
{
    if (PO_LIKELY(object != NULL)) {
        po_count_word *word = (po_count_word *)object - 2;
        uint32_t count = PO_READ_COUNT(word);
        if (PO_LIKELY((int32_t)count > 1))
            *word = count - 1;
        else if (PO_IS_SHARED(count)) {
            if (!PO_LIKELY(__atomic_fetch_sub(word, 1, __ATOMIC_RELEASE) > (PO_SHARED_COUNT | 1)))
                po_shared_release(object);
        } else
            po_decref_slow(object);
    }
}
#endif

/* The references to the object; SIZE_MAX for an immortal one, 0 for one that is being destroyed. */
PO_API size_t po_refcount(const void *object);

/* Stores a reference in an object or in a variable: takes a new reference to `value`, drops the old value's after the
 * slot has the new one. Ends the program if the slot lies in an object of another heap than the value, unless that is
 * shared; for slots of objects above 512 bytes only a collection finds it. Either value may be NULL. */
PO_API void po_set(void **slot, void *value);
/* As po_set, with the reference to `value` stolen. */
PO_API void po_set_steal(void **slot, void *value);
/* As po_set with NULL. */
PO_API void po_clear(void **slot);

/* The object is never released any more, whatever its count does; what it refers to stays alive. */
PO_API void po_make_immortal(void *object);
PO_API bool po_is_immortal(const void *object);

/* ---- The collector ---------------------------------------------------------------------------------------------- */

/* Collects the generations up to `generation` (0 to 2) now, even if the collector is disabled; objects that survive
 * move to the next one. Returns how many unreachable objects were found, 0 when a collection is running already, or
 * when it was put off because there was no memory for its tables. Linear in the objects of these generations. */
PO_API size_t po_gc_collect(po_heap *heap, int generation);

/* Collects if the thresholds say so, or goes on with what max_pause_ns has cut into steps. */
PO_API void po_safepoint(po_heap *heap);

/* A step of a collection of the old generation, which it begins if none is under way; true: there is more to do. The
 * last step may take longer, in proportion to the garbage found. */
PO_API bool po_gc_step(po_heap *heap, uint64_t max_ns);

/* Whether collections start by themselves. */
PO_API void po_gc_enable(po_heap *heap);
PO_API void po_gc_disable(po_heap *heap);
PO_API bool po_gc_is_enabled(po_heap *heap);

/* threshold[0]: how many more tracked objects than were released, since the last collection, start one of generation
 * 0. By default, and only then, this is 700 or a sixteenth of the old objects, whichever is more. 0: none starts by
 * itself. threshold[1]: so many collections of generation 0 start one of generation 1. threshold[2]: after so many of
 * generation 1 one of generation 2 follows, if what became old since the last is more than a quarter of what it left.
 * Besides, memory paces collections: garbage is not left to grow beyond 2 MB or a quarter of the live bytes. */
PO_API void po_gc_set_threshold(po_heap *heap, const unsigned threshold[3]);
PO_API void po_gc_get_threshold(po_heap *heap, unsigned threshold[3]);
PO_API void po_gc_get_count(po_heap *heap, unsigned count[3]);

struct po_gc_stats {
    uint64_t collections, collected, uncollectable, pause_ns_total, pause_ns_max;
};
PO_API void po_gc_get_stats(po_heap *heap, struct po_gc_stats stats[3]);

/* Nothing that is alive now is visited by a collection again, until po_gc_unfreeze makes it part of the old
 * generation. A forked child that collects then writes to no page of these objects. Without memory for the tables
 * nothing is frozen. Called by a finalizer or callback of a collection, it freezes what that has found as well. */
PO_API void po_gc_freeze(po_heap *heap);
PO_API void po_gc_unfreeze(po_heap *heap);
PO_API size_t po_gc_get_freeze_count(po_heap *heap);

/* Whether the collector knows the object: its type is not acyclic, and it is not shared. */
PO_API bool po_gc_is_tracked(const void *object);
PO_API bool po_gc_is_finalized(const void *object);

/* Visit functions: the referents are borrowed; the visitor must not allocate, count or release. */
/* Each tracked object of a generation (0 to 2), or of all (-1; frozen ones too), once, in no order. */
PO_API void po_gc_each(po_heap *heap, int generation, po_visitor *visit, void *context);
/* Each object that refers to this one, once. Linear in the heap. */
PO_API void po_gc_each_referrer(void *object, po_visitor *visit, void *context);
/* Each reference of the object. */
PO_API void po_gc_each_referent(void *object, po_visitor *visit, void *context);

/* `callback` is called before and after each collection; NULL: none. It must not destroy the heap. */
PO_API void po_gc_set_callback(po_heap *heap,
                               void (*callback)(po_heap *heap, bool begins, int generation, void *context),
                               void *context);

/* ---- Weak references -------------------------------------------------------------------------------------------- */

/* A weak reference to an object. It becomes NULL when the object dies, before the object is destroyed, and
 * `callback`, if there is one, is then called. The callback may run any code, and destroy the weak reference. NULL:
 * EINVAL for NULL, for an object that is being destroyed, or a shared one; ENOMEM. Constant time. */
PO_API po_weak *po_weak_create(void *object, void (*callback)(po_weak *weak, void *context), void *context);
/* A new reference to the object, or NULL. */
PO_API void *po_weak_get(po_weak *weak);
/* The weak reference is part of `owner`, an object that will destroy it: in a collection that finds the owner
 * unreachable the callback is not called, however the object dies. The owner is not kept alive. */
PO_API void po_weak_set_owner(po_weak *weak, const void *owner);
/* NULL is allowed. The callback is not called any more. */
PO_API void po_weak_destroy(po_weak *weak);

/* ---- Strings and numbers ---------------------------------------------------------------------------------------- */

/* A new reference to a new immutable string of these bytes, of a type named "string". */
PO_API void *po_string(po_heap *heap, const char *bytes, size_t length);
/* Its bytes, borrowed, with a zero byte behind them. `length` may be NULL. NULL and EINVAL if it is no string. */
PO_API const char *po_string_bytes(const void *string, size_t *length);
/* A new reference to the one interned string of these bytes in the heap. It dies as every object does. */
PO_API void *po_intern(po_heap *heap, const char *bytes, size_t length);
/* A new reference to an integer, of a type named "int". Those from -5 to 256 are immortal, one of each in a heap. */
PO_API void *po_int(po_heap *heap, int64_t value);
/* 0 with errno EINVAL if it is none. */
PO_API int64_t po_int_value(const void *integer);

/* ---- Other threads, other heaps --------------------------------------------------------------------------------- */

/* The object, and all it reaches, may from now on be counted, read and released by any thread, and stored in objects
 * of other heaps; by contract nothing in it changes any more. It is no longer part of collections. The thread that
 * drops the last reference destroys the object; its memory returns to its heap, which must outlive it. Interned
 * strings become immortal. False, with nothing changed: EINVAL for a graph with a cycle, a finalizer, a weak
 * reference, or a reference to an object of another heap that is not shared; ENOMEM. Linear. A finalizer or callback of
 * a collection may share what that has found: it then lives by the references that it has. */
PO_API bool po_share(void *object);

/* The object, and all it reaches, moves to another heap without being copied in the eyes of the program: addresses
 * change owner, not value. Its types are replaced by types of `to` that were created from an equal specification, or
 * new ones. To be called with both heaps at rest, by a thread that may use both. Strings that were interned no longer
 * are. False, with nothing changed: EINVAL when something else refers into the graph (the caller's one reference to
 * `object` aside), or for shared objects; ENOMEM. Shared and immortal objects that it refers to stay where they are.
 * Linear in the graph. */
PO_API bool po_transfer(void *object, po_heap *to);

#ifdef __cplusplus
}
#endif

#endif
