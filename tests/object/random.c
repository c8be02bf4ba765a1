/* SPDX-License-Identifier: MIT
 *
 * Random operations on a heap, and a naive model of it beside: which objects there are, what they refer to, how many
 * references the program holds, and what follows from that by brute force. After each operation what has died must be
 * unreachable, counts must be those of the model, weak references must agree with both; after a full collection all
 * that is unreachable must be dead.
 *
 *   object_random SEED OPERATIONS [MODE...]    modes: finalizers steps freeze memory transfer automatic
 */
#include "object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 400, SLOTS = 6, WIDE = 100 };

/* The payload of every type begins like this; the references follow it. */
struct thing {
    uint32_t id, unused;
    void *slots[];
};

struct model {
    struct thing *object; /* NULL: dead, or never made */
    int type;
    unsigned slot_count;
    int slots[WIDE]; /* ids, -1: none */
    unsigned roots;  /* references that the program holds */
    po_weak *weak;
    bool weak_is_called; /* has a callback */
    bool finalized, frozen;
    bool reachable;
};

static struct model models[OBJECTS];
static po_heap *heap, *other_heap;
static bool use_finalizers, use_steps, use_freeze, use_memory, use_transfer, use_automatic;
static uint64_t seed, operation;
static unsigned callbacks;

static _Noreturn void
fail(const char *what, int id)
{
    fprintf(stderr, "random: seed %llu, operation %llu, object %d: %s\n", (unsigned long long)seed,
            (unsigned long long)operation, id, what);
    abort();
}

static uint32_t
any(uint32_t below)
{
    static uint64_t state;
    if (state == 0)
        state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) % below);
}

/* ---- Types ---- */

static void
thing_destroy(void *object)
{
    struct model *model = &models[((struct thing *)object)->id];
    if (model->object != object)
        fail("is destroyed twice", (int)((struct thing *)object)->id);
    if (model->weak != NULL && po_weak_get(model->weak) != NULL)
        fail("has a weak reference at its destruction", (int)((struct thing *)object)->id);
    model->object = NULL;
}

static void
thing_finalize(void *object)
{
    struct thing *thing = object;
    struct model *model = &models[thing->id];
    if (model->finalized)
        fail("is finalized twice", (int)thing->id);
    model->finalized = true;
    switch (any(4)) {
    case 0: /* lives again */
        po_incref(object);
        model->roots++;
        break;
    case 1: /* drops what it refers to */
        for (unsigned i = 0; i < model->slot_count; i++) {
            po_clear(&thing->slots[i]);
            model->slots[i] = -1;
        }
        break;
    case 2: /* a collection within one, and garbage of its own; outside of one this is an ordinary collection */
        po_decref(po_string(heap, "garbage", 7));
        break;
    default:
        break;
    }
}

static void
custom_traverse(void *object, po_visitor *visit, void *context)
{
    for (unsigned i = 0; i < SLOTS; i++)
        visit(((struct thing *)object)->slots[i], context);
}

static void
custom_clear(void *object)
{
    for (unsigned i = 0; i < SLOTS; i++)
        po_clear(&((struct thing *)object)->slots[i]);
}

enum { TABLE, VECTOR, LARGE, CUSTOM, FINALIZED, LEAF, ALIGNED, ACYCLIC_LARGE, TYPES };

static po_type *types[TYPES];
static const unsigned slot_counts[TYPES] = {2, 0, 0, SLOTS, 2, 0, SLOTS, 0};

static void
make_types(void)
{
    static const uint16_t two[] = {8, 16, PO_END}, six[] = {8, 16, 24, 32, 40, 48, PO_END};
    const struct po_type_spec specs[TYPES] = {
        [TABLE] = {.name = "table", .size = 24, .references = two},
        [VECTOR] = {.name = "vector", .size = 8, .item_size = 8, .items_are_references = true},
        [LARGE] = {.name = "large", .size = 8, .item_size = 8, .items_are_references = true},
        [CUSTOM] = {.name = "custom", .size = 56, .traverse = custom_traverse, .clear = custom_clear},
        [FINALIZED] = {.name = "finalized", .size = 24, .references = two, .finalize = thing_finalize},
        [LEAF] = {.name = "leaf", .size = 8, .flags = PO_ACYCLIC},
        [ALIGNED] = {.name = "aligned", .size = 56, .references = six, .flags = PO_ALIGN_16},
        [ACYCLIC_LARGE] = {.name = "block", .size = 900, .flags = PO_ACYCLIC},
    };
    for (int i = 0; i < TYPES; i++) {
        struct po_type_spec spec = specs[i];
        spec.destroy = thing_destroy;
        types[i] = po_type_create(heap, &spec);
        if (types[i] == NULL)
            fail("no type", i);
    }
}

/* ---- The model ---- */

static void
mark(int id)
{
    static int stack[OBJECTS * 4];
    int depth = 0;
    if (models[id].reachable)
        return;
    models[id].reachable = true;
    stack[depth++] = id;
    while (depth > 0) {
        struct model *model = &models[stack[--depth]];
        for (unsigned i = 0; i < model->slot_count; i++) {
            int next = model->slots[i];
            if (next < 0 || models[next].reachable)
                continue;
            models[next].reachable = true;
            stack[depth++] = next;
        }
    }
}

static void
check(bool everything)
{
    for (int id = 0; id < OBJECTS; id++)
        models[id].reachable = false;
    for (int id = 0; id < OBJECTS; id++)
        if (models[id].object != NULL && (models[id].roots != 0 || (use_freeze && models[id].frozen)))
            mark(id);
    static unsigned counts[OBJECTS];
    for (int id = 0; id < OBJECTS; id++)
        counts[id] = models[id].roots;
    for (int id = 0; id < OBJECTS; id++)
        for (unsigned i = 0; models[id].object != NULL && i < models[id].slot_count; i++)
            if (models[id].slots[i] >= 0)
                counts[models[id].slots[i]]++;
    for (int id = 0; id < OBJECTS; id++) {
        struct model *model = &models[id];
        if (model->reachable && model->object == NULL)
            fail("is dead and reachable", id);
        if (model->object == NULL) {
            if (model->weak != NULL && po_weak_get(model->weak) != NULL)
                fail("is dead and has a weak reference", id);
            continue;
        }
        if (counts[id] == 0)
            fail("lives with no reference", id);
        if (po_refcount(model->object) != counts[id])
            fail("has a wrong count", id);
        if (everything && !model->reachable)
            fail("is unreachable and lives", id);
        if (model->weak != NULL) {
            void *object = po_weak_get(model->weak);
            /* A collection that a finalizer has ended in resurrection clears weak references of what lives on. */
            if (object != model->object && !(object == NULL && use_finalizers))
                fail("lives without its weak reference", id);
            po_decref(object);
        }
    }
}

/* ---- Operations ---- */

static void
called(po_weak *weak, void *context)
{
    struct model *model = context;
    if (weak != model->weak || !model->weak_is_called || po_weak_get(weak) != NULL)
        fail("has a wrong callback", (int)(model - models));
    model->weak_is_called = false;
    callbacks++;
}

static void
forget_weak(struct model *model)
{
    po_weak_destroy(model->weak);
    model->weak = NULL;
    model->weak_is_called = false;
}

static void
make(int id)
{
    struct model *model = &models[id];
    if (model->object != NULL)
        return;
    if (model->weak != NULL)
        forget_weak(model);
    int type = (int)any(TYPES);
    if (type == FINALIZED && !use_finalizers)
        type = TABLE;
    unsigned slots = type == VECTOR ? any(9) : type == LARGE ? 70 + any(30) : slot_counts[type];
    struct thing *thing = type == VECTOR || type == LARGE ? po_new_items(types[type], slots) : po_new(types[type]);
    /* Collecting first may have run a finalizer, which may not make things with ids: the model is still free. */
    if (thing == NULL) {
        if (errno != ENOMEM || !use_memory)
            fail("cannot be made", id);
        return;
    }
    for (unsigned i = 0; i < slots; i++)
        if (thing->slots[i] != NULL)
            fail("is not zero", id);
    thing->id = (uint32_t)id;
    *model = (struct model){.object = thing, .type = type, .slot_count = slots, .roots = 1};
    for (unsigned i = 0; i < slots; i++)
        model->slots[i] = -1;
}

static int
any_root(void)
{
    for (int tries = 0; tries < 50; tries++) {
        int id = (int)any(OBJECTS);
        if (models[id].object != NULL && models[id].roots != 0)
            return id;
    }
    return -1;
}

static int
any_reachable(void)
{
    int id = any_root();
    for (uint32_t steps = any(6); id >= 0 && steps > 0 && models[id].slot_count != 0; steps--) {
        int next = models[id].slots[any(models[id].slot_count)];
        if (next < 0)
            break;
        id = next;
    }
    return id;
}

static void
store(void)
{
    int from = any_reachable(), to = any(8) == 0 ? -1 : any_reachable();
    if (from < 0 || models[from].slot_count == 0 ||
        (to >= 0 && po_heap_of(models[from].object) != po_heap_of(models[to].object)))
        return;
    unsigned slot = any(models[from].slot_count);
    /* The model first: the old value's death may run code that looks. */
    models[from].slots[slot] = to;
    po_set(&models[from].object->slots[slot], to >= 0 ? models[to].object : NULL);
}

static void
take(void)
{
    int id = any_reachable();
    if (id >= 0) {
        po_incref(models[id].object);
        models[id].roots++;
    }
}

static void
drop(void)
{
    int id = any_root();
    if (id >= 0) {
        models[id].roots--;
        po_decref(models[id].object);
    }
}

static void
make_weak(void)
{
    int id = any_reachable();
    if (id < 0)
        return;
    struct model *model = &models[id];
    if (model->weak != NULL) {
        forget_weak(model);
        return;
    }
    bool with = any(2) == 0;
    model->weak_is_called = with;
    model->weak = po_weak_create(model->object, with ? called : NULL, model);
    if (model->weak == NULL && !use_memory)
        fail("gets no weak reference", id);
    model->weak_is_called &= model->weak != NULL;
}

static void
freeze(void)
{
    bool freezing = po_gc_get_freeze_count(heap) == 0;
    if (freezing)
        po_gc_freeze(heap);
    else
        po_gc_unfreeze(heap);
    bool done = po_gc_get_freeze_count(heap) != 0;
    for (int id = 0; id < OBJECTS; id++)
        models[id].frozen = done && models[id].object != NULL && po_gc_is_tracked(models[id].object);
}

static bool
collect(void)
{
    uint64_t before = heap->put_off;
    if (use_steps && any(2) == 0) {
        bool more = true;
        for (uint32_t steps = any(40); more && steps > 0; steps--) {
            more = po_gc_step(heap, any(3) == 0 ? 1000000 : 0);
            if (any(4) == 0)
                break;
        }
        return false;
    }
    int generation = (int)any(3);
    if (use_transfer)
        po_gc_collect(other_heap, (int)any(3));
    po_gc_collect(heap, generation);
    /* What a finalizer has let go in a collection may wait for the next one. */
    if (use_finalizers && generation == 2)
        for (int i = 0; i < 12 && po_gc_collect(heap, 2) != 0; i++)
            ;
    return generation == 2 && heap->put_off == before;
}

static void
transfer(void)
{
    int id = any_root();
    if (id < 0)
        return;
    po_heap *from = po_heap_of(models[id].object), *to = from == heap ? other_heap : heap;
    po_transfer(models[id].object, to);
}

static bool
operate(void)
{
    uint32_t which = any(100);
    if (use_memory)
        po_memory_budget = any(3) == 0 ? (int)any(4) : -1;
    bool everything = false;
    if (which < 30)
        make((int)any(OBJECTS));
    else if (which < 62)
        store();
    else if (which < 68)
        take();
    else if (which < 90)
        drop();
    else if (which < 95)
        make_weak();
    else if (which < 96 && use_freeze)
        freeze();
    else if (which < 97 && use_transfer)
        transfer();
    else
        everything = collect();
    po_memory_budget = -1;
    return everything && !use_transfer;
}

static bool
asked(int count, char **words, const char *mode)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], mode) == 0)
            return true;
    return false;
}

int
main(int count, char **words)
{
    if (count < 3) {
        fprintf(stderr, "usage: %s SEED OPERATIONS [MODE...]\n", words[0]);
        return 2;
    }
    seed = strtoull(words[1], NULL, 10);
    uint64_t operations = strtoull(words[2], NULL, 10);
    use_finalizers = asked(count, words, "finalizers");
    use_steps = asked(count, words, "steps");
    use_freeze = asked(count, words, "freeze");
    use_memory = asked(count, words, "memory");
    use_transfer = asked(count, words, "transfer");
    use_automatic = asked(count, words, "automatic");
    struct po_heap_options options = {.collect = use_automatic ? PO_COLLECT_IN_NEW : PO_COLLECT_BY_HAND};
    if (use_automatic) {
        options.threshold[0] = 20;
        options.threshold[1] = options.threshold[2] = 3;
        options.max_pause_ns = use_steps ? 1000 : 0;
    }
    heap = po_heap_create(&options);
    other_heap = po_heap_create(&options);
    make_types();
    for (; operation < operations; operation++)
        check(operate());
    po_heap_verify(heap);
    size_t outside = 0;
    for (int id = 0; id < OBJECTS; id++)
        outside += models[id].object != NULL && models[id].roots != 0 && po_heap_of(models[id].object) == heap;
    po_gc_unfreeze(heap);
    use_finalizers = false;
    if (!use_transfer && !asked(count, words, "finalizers")) {
        size_t found = po_heap_destroy(heap);
        if (found != outside)
            fail("the heap's end counts other objects in use than the model", (int)found);
    } else {
        po_heap_destroy(heap);
    }
    po_heap_destroy(other_heap);
    for (int id = 0; id < OBJECTS; id++) {
        if (models[id].object != NULL)
            fail("outlives its heap", id);
        if (models[id].weak != NULL)
            forget_weak(&models[id]);
    }
    return 0;
}
