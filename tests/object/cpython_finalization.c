/* SPDX-License-Identifier: MIT
 *
 * The semantics of CPython's test_finalization (PEP 442), as far as they apply in C. Each case names the test it
 * corresponds to; the legacy finalizers (tp_del) have no equivalent.
 *
 * Weak references differ on purpose: one without a callback is cleared only after finalizers have run, and only if its
 * object has not been resurrected; CPython 3.11 clears it before.
 */
#include "support.h"

#include <stddef.h>

enum side_effect { SIMPLE, RESURRECTOR, SUICIDAL };

/* A member of a chain or a ring, which checks that it is sane when it is finalized. */
struct member {
    struct member *left, *right;
    uint32_t number;
    uint16_t side_effect;
    bool suicided;
    uintptr_t not_self;  /* where it lies, inverted: verify would take an address for a reference */
};

static int dels[HOOKED_MAX], ends[HOOKED_MAX];
static struct member *survivors[HOOKED_MAX];
static unsigned survivor_count;

static void
check_sanity(const struct member *member)
{
    cr_assert_eq(~member->not_self, (uintptr_t)member);
    cr_assert_eq(po_type_name(po_type_of(member))[0], 'm');
    cr_assert_geq(po_refcount(member), 1);
    if (member->suicided) {
        cr_assert(member->left == NULL && member->right == NULL);
        return;
    }
    if (member->left != NULL)
        cr_assert_eq(member->left->right, member->left->suicided ? NULL : member);
    if (member->right != NULL)
        cr_assert_eq(member->right->left, member->right->suicided ? NULL : member);
}

static void
member_finalize(void *object)
{
    struct member *member = object;
    check_sanity(member);
    dels[member->number]++;
    if (member->side_effect == RESURRECTOR)
        survivors[survivor_count++] = po_incref(member);
    if (member->side_effect == SUICIDAL) {
        member->suicided = true;
        po_clear((void **)&member->left);
        po_clear((void **)&member->right);
    }
}

static void
member_destroy(void *object)
{
    struct member *member = object;
    cr_assert_eq(~member->not_self, (uintptr_t)member);
    cr_assert_eq(dels[member->number], 1, "finalized once before its end");
    ends[member->number]++;
}

static po_type *
member_type(po_heap *heap, unsigned flags)
{
    static const uint16_t references[] = {offsetof(struct member, left), offsetof(struct member, right), PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = flags ? "mono" : "member",
                                                                .size = sizeof(struct member),
                                                                .references = flags ? NULL : references,
                                                                .flags = flags,
                                                                .finalize = member_finalize,
                                                                .destroy = member_destroy});
    cr_assert_not_null(type);
    return type;
}

static struct member *
new_member(po_type *type, uint32_t number, enum side_effect side_effect)
{
    struct member *member = po_new(type);
    cr_assert_not_null(member);
    member->number = number;
    member->side_effect = (uint16_t)side_effect;
    member->not_self = ~(uintptr_t)member;
    return member;
}

static void
clear_survivors(void)
{
    while (survivor_count > 0)
        po_decref(survivors[--survivor_count]);
}

/* ---- SimpleFinalizationTest: no cycles, by the count ---- */

static void
check_simple(unsigned flags, enum side_effect side_effect)
{
    po_heap *heap = new_heap();
    po_type *type = member_type(heap, flags);
    struct member *member = new_member(type, 0, side_effect);
    cr_assert_eq(po_gc_is_tracked(member), flags == 0);
    po_weak *weak = po_weak_create(member, NULL, NULL);
    po_decref(member);
    po_gc_collect(heap, 2);
    cr_assert_eq(dels[0], 1);
    if (side_effect == RESURRECTOR) {
        cr_assert(survivor_count == 1 && survivors[0] == member && ends[0] == 0);
        void *again = po_weak_get(weak);
        cr_assert_eq(again, member, "the weak reference is valid after the resurrection");
        po_decref(again);
        clear_survivors();
        po_gc_collect(heap, 2);
    }
    cr_assert(dels[0] == 1 && ends[0] == 1);
    cr_assert_null(po_weak_get(weak));
    po_weak_destroy(weak);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_simple */
Test(cpython_finalization, simple)
{
    check_simple(0, SIMPLE);
}

/* test_simple_resurrect */
Test(cpython_finalization, simple_resurrect)
{
    check_simple(0, RESURRECTOR);
}

/* test_non_gc */
Test(cpython_finalization, untracked)
{
    check_simple(PO_ACYCLIC, SIMPLE);
}

/* test_non_gc_resurrect: once for untracked objects too, where CPython runs it twice */
Test(cpython_finalization, untracked_resurrect)
{
    check_simple(PO_ACYCLIC, RESURRECTOR);
}

/* ---- SelfCycleFinalizationTest ---- */

static unsigned calls;

static void
count_call(po_weak *weak, void *context)
{
    (void)context;
    cr_assert_null(po_weak_get(weak));
    calls++;
}

static void
check_self_cycle(enum side_effect side_effect, bool with_callback)
{
    po_heap *heap = new_heap();
    struct member *member = new_member(member_type(heap, 0), 0, side_effect);
    po_set((void **)&member->left, member);
    po_set((void **)&member->right, member);
    po_weak *weak = po_weak_create(member, with_callback ? count_call : NULL, NULL);
    po_decref(member);
    cr_assert_eq(dels[0], 0);
    cr_assert_eq(po_gc_collect(heap, 2), side_effect == RESURRECTOR ? 0 : 1);
    cr_assert_eq(dels[0], 1);
    cr_assert_eq(calls, with_callback, "before finalizers, whatever they do");
    if (side_effect == RESURRECTOR) {
        cr_assert(survivor_count == 1 && survivors[0] == member && ends[0] == 0);
        cr_assert(member->left == member && member->right == member && po_refcount(member) == 3);
        void *again = po_weak_get(weak);
        cr_assert_eq(again, with_callback ? NULL : member);
        po_decref(again);
        clear_survivors();
        cr_assert_eq(po_gc_collect(heap, 2), 1);
    }
    cr_assert(dels[0] == 1 && ends[0] == 1 && survivor_count == 0);
    cr_assert_null(po_weak_get(weak));
    cr_assert_eq(calls, with_callback);
    po_weak_destroy(weak);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* test_simple */
Test(cpython_finalization, self_cycle)
{
    check_self_cycle(SIMPLE, false);
}

/* test_simple_resurrect */
Test(cpython_finalization, self_cycle_resurrect)
{
    check_self_cycle(RESURRECTOR, false);
}

Test(cpython_finalization, self_cycle_resurrect_with_a_callback)
{
    check_self_cycle(RESURRECTOR, true);
}

/* test_simple_suicide */
Test(cpython_finalization, self_cycle_suicide)
{
    check_self_cycle(SUICIDAL, false);
}

Test(cpython_finalization, self_cycle_suicide_with_a_callback)
{
    check_self_cycle(SUICIDAL, true);
}

/* ---- CycleChainFinalizationTest ---- */

static void
check_chain(const enum side_effect *effects, size_t count, int generation)
{
    po_heap *heap = new_heap();
    po_type *type = member_type(heap, 0);
    struct member *members[16];
    po_weak *weaks[16];
    unsigned resurrectors = 0;
    for (uint32_t i = 0; i < count; i++)
        members[i] = new_member(type, i, effects[i]);
    for (size_t i = 0; i < count; i++) {
        struct member *left = members[(i + count - 1) % count];
        po_set((void **)&members[i]->left, left);
        po_set((void **)&left->right, members[i]);
        weaks[i] = po_weak_create(members[i], NULL, NULL);
        resurrectors += effects[i] == RESURRECTOR;
    }
    for (size_t i = 0; i < count; i++)
        po_decref(members[i]);
    po_gc_collect(heap, generation);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(dels[i], 1, "each is finalized, whatever the others did");
    cr_assert_eq(survivor_count, resurrectors);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(ends[i], resurrectors == 0 ? 1 : ends[i]);
    /* Those that were resurrected are alive, and sane. */
    for (unsigned i = 0; i < survivor_count; i++) {
        cr_assert_eq(ends[survivors[i]->number], 0);
        cr_assert_eq(survivors[i]->side_effect, RESURRECTOR);
        check_sanity(survivors[i]);
    }
    /* A weak reference and its object agree. */
    for (size_t i = 0; i < count; i++) {
        void *object = po_weak_get(weaks[i]);
        cr_assert_eq(object, ends[i] ? NULL : members[i]);
        po_decref(object);
    }
    po_heap_verify(heap);
    clear_survivors();
    po_gc_collect(heap, 2);
    for (size_t i = 0; i < count; i++) {
        cr_assert(dels[i] == 1 && ends[i] == 1);
        cr_assert_null(po_weak_get(weaks[i]));
        po_weak_destroy(weaks[i]);
    }
    cr_assert_eq(survivor_count, 0);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

#define CHAIN(...)                                                                                 \
    do {                                                                                           \
        const enum side_effect effects[] = {__VA_ARGS__};                                          \
        check_chain(effects, sizeof effects / sizeof effects[0], 2);                               \
    } while (0)

/* test_homogenous */
Test(cpython_finalization, chain)
{
    CHAIN(SIMPLE, SIMPLE, SIMPLE);
}

/* test_homogenous_resurrect */
Test(cpython_finalization, chain_resurrect)
{
    CHAIN(RESURRECTOR, RESURRECTOR, RESURRECTOR);
}

/* test_homogenous_suicidal */
Test(cpython_finalization, chain_suicidal)
{
    CHAIN(SUICIDAL, SUICIDAL, SUICIDAL);
}

/* test_heterogenous_suicidal_one */
Test(cpython_finalization, chain_suicidal_one)
{
    CHAIN(SUICIDAL, SIMPLE, SUICIDAL, SIMPLE);
}

/* test_heterogenous_suicidal_two */
Test(cpython_finalization, chain_suicidal_two)
{
    CHAIN(SUICIDAL, SUICIDAL, SIMPLE, SIMPLE);
}

/* test_heterogenous_resurrect_one */
Test(cpython_finalization, chain_resurrect_one)
{
    CHAIN(RESURRECTOR, SIMPLE, RESURRECTOR, SIMPLE);
}

/* test_heterogenous_resurrect_two */
Test(cpython_finalization, chain_resurrect_two)
{
    CHAIN(RESURRECTOR, SIMPLE, SUICIDAL, RESURRECTOR, SIMPLE, SUICIDAL);
}

/* test_heterogenous_resurrect_three */
Test(cpython_finalization, chain_resurrect_three)
{
    CHAIN(RESURRECTOR, RESURRECTOR, SIMPLE, SIMPLE, SUICIDAL, SUICIDAL);
}

/* All chains of five, and each generation: what the cases above are samples of. */
Test(cpython_finalization, chains_of_every_kind)
{
    for (int code = 0; code < 3 * 3 * 3 * 3 * 3; code++) {
        enum side_effect effects[5];
        for (int i = 0, rest = code; i < 5; i++, rest /= 3)
            effects[i] = (enum side_effect)(rest % 3);
        for (int i = 0; i < 5; i++)
            dels[i] = ends[i] = 0;
        check_chain(effects, 5, code % 3);
    }
}

/* ---- Forms of resurrection that a finalizer of C has ---- */

static void *kept;
static po_heap *the_heap;
static po_type *the_type;

/* The reference is stored in an object that lives, not in a variable. */
static void
move_into_kept(void *object)
{
    dels[((struct member *)object)->number]++;
    po_set(&((struct node *)kept)->left, object);
}

Test(cpython_finalization, resurrected_by_an_object_that_lives)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, 8, PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "member",
                                                                .size = sizeof(struct member),
                                                                .references = references,
                                                                .finalize = move_into_kept});
    struct node *keeper = kept = po_new(node_type(heap));
    struct member *member = po_new(type);
    member->left = member;
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert(keeper->left == member && po_refcount(member) == 2 && dels[0] == 1);
    po_decref(keeper);
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert_eq(dels[0], 1);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* A new ring around the dying object, which nothing outside refers to: both die in the next collection. The finalizer
 * does not run again. */
static void
tie_new_knot(void *object)
{
    dels[((struct member *)object)->number]++;
    struct node *knot = po_new(the_type);
    po_set(&knot->left, object);
    po_set(&knot->right, knot);
    po_decref(knot);
}

Test(cpython_finalization, resurrected_by_new_garbage)
{
    the_heap = new_heap();
    the_type = node_type(the_heap);
    static const uint16_t references[] = {0, 8, PO_END};
    po_type *type = po_type_create(the_heap, &(struct po_type_spec){.name = "member",
                                                                    .size = sizeof(struct member),
                                                                    .references = references,
                                                                    .finalize = tie_new_knot});
    struct member *in_a_ring = po_new(type), *alone = po_new(type);
    in_a_ring->left = in_a_ring;
    alone->number = 1;
    po_gc_collect(the_heap, 2);
    po_decref(alone);
    cr_assert(dels[0] == 1 && dels[1] == 1);
    cr_assert_eq(objects_in(the_heap), 4);
    cr_assert_eq(po_gc_collect(the_heap, 2), 4);
    cr_assert(dels[0] == 1 && dels[1] == 1);
    cr_assert_eq(objects_in(the_heap), 0);
    cr_assert_eq(po_heap_destroy(the_heap), 0);
}

/* Through a weak reference without a callback, to another member, which has no finalizer. */
static po_weak *to_other;

static void
get_other(void *object)
{
    (void)object;
    kept = po_weak_get(to_other);
}

Test(cpython_finalization, resurrected_through_a_weak_reference)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "getter", .size = 8, .references = references, .finalize = get_other});
    void **getter = po_new(type);
    struct node *ring = new_ring(node_type(heap), 3);
    to_other = po_weak_create(ring, NULL, NULL);
    /* Neither refers to the other: both are garbage of one collection. */
    getter[0] = getter;
    po_decref(ring);
    cr_assert_eq(po_gc_collect(heap, 2), 1);
    cr_assert_eq(kept, ring);
    cr_assert(po_refcount(ring) == 2 && ring->right != NULL);
    po_decref(kept);
    cr_assert_eq(po_gc_collect(heap, 2), 3);
    cr_assert_null(po_weak_get(to_other));
    po_weak_destroy(to_other);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

/* The object is made immortal by its own finalizer. */
static void
become_immortal(void *object)
{
    dels[((struct member *)object)->number]++;
    po_make_immortal(object);
}

Test(cpython_finalization, resurrected_for_good)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, 8, PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "member",
                                                                .size = sizeof(struct member),
                                                                .references = references,
                                                                .finalize = become_immortal});
    struct member *in_a_ring = po_new(type), *alone = po_new(type);
    in_a_ring->left = in_a_ring;
    alone->number = 1;
    po_decref(alone);
    cr_assert_eq(dels[1], 1);
    cr_assert(po_is_immortal(alone));
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(dels[0], 1);
    cr_assert(po_is_immortal(in_a_ring) && in_a_ring->left == in_a_ring);
    cr_assert_eq(po_gc_collect(heap, 2), 0);
    cr_assert_eq(objects_in(heap), 2);
    po_heap_verify(heap);
    cr_assert_eq(po_heap_destroy(heap), 0, "immortal objects are not counted");
}

/* A chain of a thousand, each resurrected once: finalizers run one by one as the last reference goes. */
static void
resurrect(void *object)
{
    (void)object;
    ends[0]++;
    cr_assert_null(kept);
    kept = po_incref(object);
}

Test(cpython_finalization, a_chain_that_is_resurrected_link_by_link)
{
    po_heap *heap = new_heap();
    static const uint16_t references[] = {0, PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "link", .size = 8, .references = references, .finalize = resurrect});
    void **chain = NULL;
    for (int i = 0; i < 1000; i++) {
        void **next = po_new(type);
        next[0] = chain;
        chain = next;
    }
    void *last = chain;
    for (int i = 1; i <= 1000; i++) {
        po_decref(last);
        cr_assert_eq(ends[0], i);
        cr_assert_eq(objects_in(heap), 1001 - i);
        last = kept;
        kept = NULL;
    }
    po_decref(last);
    cr_assert_eq(objects_in(heap), 0);
    cr_assert_eq(ends[0], 1000);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
