/* SPDX-License-Identifier: MIT
 *
 * The objects of the benchmarks, and how each peer makes, counts and releases them. The cases are written once, in the
 * manner of counted references; for Boehm GC, which counts nothing, retaining and releasing are nothing.
 *
 * A fresh object's slots are set by plain assignment of an owned reference, as one does in C; later changes go through
 * replace(). */
#ifndef PEER_H
#define PEER_H

#include "bench.h"

struct node {                  /* two references and nothing else */
    struct node *left, *right;
};
struct tree {                  /* GCBench's node */
    struct tree *left, *right;
    int32_t i, j;
};
struct leaf {
    int64_t value, other;
};
struct text {
    char bytes[24];
};
struct value {                 /* a JSON value: its next sibling, its first member, its text */
    struct value *next, *child;
    struct text *text;
    double number;
};
#define PAYLOAD 10000
struct request {
    struct request *next, *back;
    char payload[PAYLOAD];
};

#if defined(PEER_POOLOBJECT)
#define PEER_NAME "poolobject"
#define PEER_CYCLES 1
#include "poolobject.h"
struct kinds {
    po_heap *heap;
    po_type *node, *tree, *leaf, *text, *value, *request, *hub;
};
extern _Thread_local struct kinds kinds;
#define NEW(kind) ((struct kind *)po_new(kinds.kind))
#define RELEASE(kind, object) po_decref(object)
#define RETAIN(object) po_incref(object)
#define REPLACE(kind, slot, value) po_set_steal((void **)(slot), value)
#define COLLECT() po_gc_collect(kinds.heap, 2)
#define ROOTS(count) calloc(count, sizeof(void *))
#define FREE_ROOTS(roots) free(roots)

#elif defined(PEER_BOEHM)
#define PEER_NAME "boehm"
#define PEER_CYCLES 1
#define GC_THREADS
#include <gc.h>
#define NEW(kind) ((struct kind *)NEW_##kind)
#define NEW_node GC_MALLOC(sizeof(struct node))
#define NEW_tree GC_MALLOC(sizeof(struct tree))
#define NEW_leaf GC_MALLOC_ATOMIC(sizeof(struct leaf))
#define NEW_text GC_MALLOC_ATOMIC(sizeof(struct text))
#define NEW_value GC_MALLOC(sizeof(struct value))
#define NEW_request GC_MALLOC(sizeof(struct request))
#define RELEASE(kind, object) ((void)(object))
#define RETAIN(object) (object)
#define REPLACE(kind, slot, value) (*(slot) = (value))
#define COLLECT() GC_gcollect()
#define ROOTS(count) GC_MALLOC_UNCOLLECTABLE((count) * sizeof(void *))
#define FREE_ROOTS(roots) GC_FREE(roots)

#elif defined(PEER_GLIB)
#define PEER_NAME "glib"
#define PEER_CYCLES 0
#include <glib.h>
#define NEW(kind) ((struct kind *)g_rc_box_alloc0(sizeof(struct kind)))
#define RELEASE(kind, object) release_##kind(object)
#define RETAIN(object) g_rc_box_acquire(object)
#define FREE(kind, object) g_rc_box_release_full(object, clear_##kind)

#elif defined(PEER_INTRUSIVE)
#define PEER_NAME "intrusive"
#define PEER_CYCLES 0
/* A count in front of the object, in memory of glibc's malloc: what boost::intrusive_ptr or hand-written C does. */
static inline void *counted_new(size_t size)
{
    uint64_t *block = malloc(sizeof(uint64_t) + size);
    if (block == NULL)
        abort();
    *block = 1;
    return memset(block + 1, 0, size);
}
static inline void *counted_retain(void *object)
{
    ++((uint64_t *)object)[-1];
    return object;
}
#define NEW(kind) ((struct kind *)counted_new(sizeof(struct kind)))
#define RELEASE(kind, object) release_##kind(object)
#define RETAIN(object) counted_retain(object)
#define FREE(kind, object)                    \
    do {                                      \
        if (--((uint64_t *)(object))[-1] == 0) { \
            clear_##kind(object);             \
            free((uint64_t *)(object)-1);     \
        }                                     \
    } while (0)
#endif

#if !PEER_CYCLES
/* What a program with counts of its own has to write for each kind of object. */
#define COLLECT() ((void)0)
#define ROOTS(count) calloc(count, sizeof(void *))
#define FREE_ROOTS(roots) free(roots)
#define RELEASER(kind)                                   \
    static void clear_##kind(void *object);              \
    static __attribute__((unused)) void release_##kind(struct kind *object) \
    {                                                    \
        if (object != NULL)                              \
            FREE(kind, object);                          \
    }                                                    \
    static void clear_##kind(void *object)
RELEASER(node)
{
    release_node(((struct node *)object)->left);
    release_node(((struct node *)object)->right);
}
RELEASER(tree)
{
    release_tree(((struct tree *)object)->left);
    release_tree(((struct tree *)object)->right);
}
RELEASER(leaf)
{
    (void)object;
}
RELEASER(text)
{
    (void)object;
}
RELEASER(value)
{
    release_value(((struct value *)object)->child);
    release_text(((struct value *)object)->text);
    release_value(((struct value *)object)->next);
}
#define REPLACE(kind, slot, value)        \
    do {                                  \
        struct kind *replaced = *(slot);  \
        *(slot) = (value);                \
        RELEASE(kind, replaced);          \
    } while (0)
#endif

/* Per thread; `max_pause_ns` is for peers that can be told. */
void peer_start(uint64_t max_pause_ns);
void peer_end(void);

typedef void bench_case(uint64_t size, uint64_t parameter);
struct bench_entry {
    const char *name;
    bench_case *run;
};
extern const struct bench_entry counts_cases[], graphs_cases[], pauses_cases[], threads_cases[];

#endif
