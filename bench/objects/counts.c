/* SPDX-License-Identifier: MIT
 *
 * Single operations: counting, making and releasing, interning, weak references, finalizers. A figure is the time for
 * one operation, averaged over a loop. */
#include "peer.h"

/* Retain and release one object that stays in the cache. */
static void count(uint64_t size, uint64_t shared)
{
    peer_start(0);
    struct leaf *object = NEW(leaf);
#if defined(PEER_POOLOBJECT)
    if (shared && !po_share(object))
        abort();
#else
    (void)shared;
#endif
    ESCAPE(object);
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        void *same = RETAIN(object);
        ESCAPE(same);
        RELEASE(leaf, same);
        BARRIER();
    }
    bench_each("each", bench_cpu() - start, (double)size);
    RELEASE(leaf, object);
    peer_end();
}

#if defined(PEER_INTRUSIVE)
/* The same loop around a bare increment and decrement, and two with a lock prefix: the least that counting can cost. */
static void count_plain(uint64_t size, uint64_t atomic)
{
    uint32_t *word = calloc(2, sizeof *word);
    ESCAPE(word);
    double start = bench_cpu();
    if (atomic)
        for (uint64_t i = 0; i < size; i++) {
            __atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
            BARRIER();
            __atomic_fetch_sub(word, 1, __ATOMIC_ACQ_REL);
            BARRIER();
        }
    else
        for (uint64_t i = 0; i < size; i++) {
            ++*word;
            BARRIER();
            --*word;
            BARRIER();
        }
    bench_each("each", bench_cpu() - start, (double)size);
    free(word);
}

/* glibc's malloc and free of the bytes a counted object takes, by ones or by batches of a thousand. */
static void pair_malloc(uint64_t size, uint64_t batch)
{
    void *blocks[1000];
    uint64_t width = batch ? 1000 : 1;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i += width) {
        for (uint64_t k = 0; k < width; k++) {
            blocks[k] = malloc(24);
            ESCAPE(blocks[k]);
        }
        for (uint64_t k = 0; k < width; k++)
            free(blocks[k]);
    }
    bench_each("each", bench_cpu() - start, (double)size);
}
#endif

#define PAIR(kind)                                                        \
    static void pair_##kind(uint64_t size, uint64_t batch)                \
    {                                                                     \
        peer_start(0);                                                    \
        struct kind **blocks = ROOTS(1000);                               \
        uint64_t width = batch ? 1000 : 1;                                \
        double start = bench_cpu();                                       \
        for (uint64_t i = 0; i < size; i += width) {                      \
            for (uint64_t k = 0; k < width; k++) {                        \
                blocks[k] = NEW(kind);                                    \
                ESCAPE(blocks[k]);                                        \
            }                                                             \
            for (uint64_t k = 0; k < width; k++)                          \
                RELEASE(kind, blocks[k]);                                 \
        }                                                                 \
        bench_each("each", bench_cpu() - start, (double)size);            \
        FREE_ROOTS(blocks);                                               \
        peer_end();                                                       \
    }
PAIR(leaf)
PAIR(node)

#if defined(PEER_POOLOBJECT) || defined(PEER_GLIB)
#if defined(PEER_POOLOBJECT)
#define INTERN(text, length) po_intern(kinds.heap, text, length)
#define DROP(text) po_decref(text)
#else
#define INTERN(text, length) ((void)(length), g_ref_string_new_intern(text))
#define DROP(text) g_ref_string_release(text)
#endif
#define HELD 10000

/* Ten thousand interned strings are held. Each operation interns a text and gives it back; in `hits` of a hundred cases
 * it is one of those, else a new one, which dies again. */
static void intern(uint64_t size, uint64_t hits)
{
    peer_start(0);
    static char texts[HELD][16];
    static int lengths[HELD];
    void **held = calloc(HELD, sizeof *held);
    uint32_t random = 42;
    for (int i = 0; i < HELD; i++) {
        lengths[i] = snprintf(texts[i], sizeof *texts, "word%d", i);
        held[i] = INTERN(texts[i], (size_t)lengths[i]);
    }
    uint64_t found = 0;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        char fresh[24] = "fresh";
        uint32_t which = bench_random(&random);
        void *text;
        if (which % 100 < hits) {
            uint32_t k = which / 100 % HELD;
            text = INTERN(texts[k], (size_t)lengths[k]);
            found += text == held[k];
        } else {
            size_t length = 5;
            for (uint64_t rest = i; rest != 0; rest /= 10)
                fresh[length++] = (char)('0' + rest % 10);
            text = INTERN(fresh, length);
        }
        ESCAPE(text);
        DROP(text);
    }
    bench_each("each", bench_cpu() - start, (double)size);
    bench_checksum(found);
    for (int i = 0; i < HELD; i++)
        DROP(held[i]);
    free(held);
    peer_end();
}
#endif

#if defined(PEER_POOLOBJECT)
/* An object, a weak reference to it, looked through twice, once with the object dead. */
static void weak(uint64_t size, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    uint64_t alive = 0;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        struct node *object = NEW(node);
        po_weak *reference = po_weak_create(object, NULL, NULL);
        void *got = po_weak_get(reference);
        alive += got != NULL;
        po_decref(got);
        po_decref(object);
        alive += po_weak_get(reference) != NULL;
        po_weak_destroy(reference);
    }
    bench_each("each", bench_cpu() - start, (double)size);
    bench_checksum(alive);
    peer_end();
}

static void weak_get(uint64_t size, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    struct node *object = NEW(node);
    po_weak *reference = po_weak_create(object, NULL, NULL);
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        void *got = po_weak_get(reference);
        ESCAPE(got);
        po_decref(got);
    }
    bench_each("each", bench_cpu() - start, (double)size);
    po_weak_destroy(reference);
    po_decref(object);
    peer_end();
}

static uint64_t finalized;

static void count_finalized(void *object)
{
    (void)object;
    finalized++;
}

/* `size` objects with finalizers, released by their counts, or (`rings`) found in rings of two by the collector. */
static void finalize(uint64_t size, uint64_t rings)
{
    static const uint16_t two[] = {0, 8, PO_END};
    peer_start(0);
    po_type *type = po_type_create(kinds.heap, &(struct po_type_spec){
        .name = "finalized", .size = sizeof(struct node), .references = two, .finalize = count_finalized});
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i += 2) {
        struct node *one = po_new(type), *other = po_new(type);
        if (rings) {
            one->left = po_incref(other);
            other->left = po_incref(one);
        }
        po_decref(one);
        po_decref(other);
    }
    COLLECT();
    bench_each("each", bench_cpu() - start, (double)size);
    bench_checksum(finalized);
    peer_end();
}
#endif

#if defined(PEER_BOEHM)
static uint64_t finalized;

static void count_finalized(void *object, void *context)
{
    (void)object;
    (void)context;
    finalized++;
}

static void finalize(uint64_t size, uint64_t rings)
{
    peer_start(0);
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i += 2) {
        struct node *one = NEW(node), *other = NEW(node);
        GC_REGISTER_FINALIZER_NO_ORDER(one, count_finalized, NULL, NULL, NULL);
        GC_REGISTER_FINALIZER_NO_ORDER(other, count_finalized, NULL, NULL, NULL);
        if (rings) {
            one->left = other;
            other->left = one;
        }
    }
    COLLECT();
    GC_invoke_finalizers();
    bench_each("each", bench_cpu() - start, (double)size);
    peer_end(); /* no checksum: some may be kept by words on the stack that look like references */
}
#endif

const struct bench_entry counts_cases[] = {
    {"count", count},
#if defined(PEER_INTRUSIVE)
    {"count-plain", count_plain},
    {"pair-malloc", pair_malloc},
#endif
    {"pair-leaf", pair_leaf},
    {"pair-tracked", pair_node},
#if defined(PEER_POOLOBJECT) || defined(PEER_GLIB)
    {"intern", intern},
#endif
#if defined(PEER_POOLOBJECT)
    {"weak", weak},
    {"weak-get", weak_get},
#endif
#if defined(PEER_POOLOBJECT) || defined(PEER_BOEHM)
    {"finalize", finalize},
#endif
    {NULL, NULL},
};
