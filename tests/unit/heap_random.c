/* SPDX-License-Identifier: MIT
 *
 * heap.h: many random operations on several heaps, against a model of which blocks are in use; every invariant is
 * verified on the way. One thread does what three would: threads.c has the real ones.
 */
#include "heap.h"

#include "options.h"
#include "process.h"
#include "region.h"
#include "support/blocks.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>

enum { HEAPS = 3, SLOTS = 20000, STEPS = 200000, PHASE = 40000 };

static struct {
    void *block;
    unsigned class;
} slots[SLOTS];

static struct pm_heap *heaps[HEAPS];
static size_t others; /* arenas that are not the heaps' */
static bool huge_seen;

static size_t
arenas_taken(void)
{
    struct pm_region_counts counts;
    pm_region_counts(&counts);
    return counts.arenas;
}

/* What a heap says of itself must add up to the blocks in use: all blocks of all heaps' pools are in use, in a
 * magazine, or free. */
static void
require_balance(void)
{
    size_t in_use[PM_CLASS_LAST + 1] = {0};
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].block != NULL)
            in_use[slots[i].class]++;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        size_t all = 0, elsewhere = 0;
        for (int i = 0; i < HEAPS; i++) {
            all += heaps[i]->classes[class].pools * pm_class_blocks(class);
            elsewhere += heaps[i]->classes[class].free_blocks + pm_magazine_count(&heaps[i]->magazines[class]);
        }
        REQUIRE(all == in_use[class] + elsewhere, "class %u: %zu blocks, %zu in use, %zu elsewhere", class, all,
                in_use[class], elsewhere);
    }
}

static void
verify_all(void)
{
    for (int i = 0; i < HEAPS; i++) {
        require_lists(heaps[i]);
        for (unsigned list = 0; list < PM_ARENAS_LISTS; list++)
            huge_seen |= heaps[i]->arenas[list].first != NULL && heaps[i]->arenas[list].first->huge;
    }
    require_balance();
}

/* Takes or gives a block of a random heap, as its thread would. */
static void
step(struct random *random, unsigned fill_percent)
{
    struct pm_heap *heap = heaps[random_below(random, HEAPS)];
    size_t at = random_below(random, SLOTS);
    if (slots[at].block == NULL && random_below(random, 100) < fill_percent) {
        unsigned class = 1 + (unsigned)random_below(random, 1 + random_below(random, PM_CLASS_LAST));
        slots[at].block = pm_magazine_pop(&heap->magazines[class]);
        if (slots[at].block == NULL)
            slots[at].block = pm_magazine_refill(heap, class);
        REQUIRE(slots[at].block != NULL, "no block of class %u", class);
        slots[at].class = class;
        pattern_write(slots[at].block, pm_class_size(class), at);
    } else if (slots[at].block != NULL && random_below(random, 100) >= fill_percent) {
        unsigned class = slots[at].class;
        size_t size = pm_class_size(class);
        REQUIRE(pattern_holds(slots[at].block, size, size, at), "a block of class %u was overwritten", class);
        REQUIRE(pm_pool_check(slots[at].block) == PM_FAULT_NONE, "a block in use is free");
        if (!pm_magazine_push(&heap->magazines[class], slots[at].block))
            pm_magazine_flush(heap, class, slots[at].block);
        slots[at].block = NULL;
    }
}

/* No heap keeps more than its limit; the operation that came above it gives back. Not so with an arena of a huge page,
 * all of which is resident when the heap gets it: that can be above the limit until something is returned. */
static void
require_limit(const struct pm_heap *heap)
{
    size_t limit = pm_keep_limit(&heap->keep, heap->pools);
    REQUIRE(heap->keep.dirty <= limit, "a heap keeps %zu free pools, the limit is %zu", heap->keep.dirty, limit);
}

static void
run(enum pm_purge_policy policy)
{
    struct random random = {test_seed("heap_random")};
    pm_options.purge = policy;
    /* The others are light at first, and served by this one. */
    heaps[0] = pm_process_newest_heap();
    for (int i = 1; i < HEAPS; i++)
        heaps[i] = pm_heap_create();
    for (size_t i = 0; i < STEPS; i++) {
        step(&random, i / PHASE % 2 == 0 ? 80 : 20);
        test_now += random_below(&random, 500) == 0;
        for (int heap = 0; others == 0 && i % 100 == 0 && heap < HEAPS; heap++)
            require_limit(heaps[heap]);
        if (i % 5000 == 0)
            verify_all();
        if (i % 10000 == 0)
            pm_heap_purge(heaps[random_below(&random, HEAPS)]);
        if (i % 3000 == 0) {
            struct pm_heap *heap = heaps[random_below(&random, HEAPS)];
            pm_heap_age(heap, test_now);
            require_limit(heap);
        }
        if (i % 30000 == 0)
            pm_magazine_flush_all(heaps[random_below(&random, HEAPS)]);
    }
    for (size_t i = 0; i < 20 * SLOTS; i++)
        step(&random, 0);
    verify_all();
    for (int i = 0; i < HEAPS; i++)
        pm_magazine_flush_all(heaps[i]);
    verify_all();
    REQUIRE(arenas_taken() == others, "%zu arenas", arenas_taken() - others);
}

/* A large heap has returned all but one arena of each of its huge pages, which these heaps take then. */
static void
make_program_large(void)
{
    enum { ARENAS = 63 + 64, GROUP = PM_REGION_ALIGNMENT / PM_ARENA_SIZE };
    static uintptr_t arenas[ARENAS];
    pm_options.huge_pages = 1;
    pm_options.purge = PM_PURGE_NEVER;
    fresh_region((size_t)256 << 20);
    for (size_t i = 0; i < ARENAS; i++)
        REQUIRE((arenas[i] = pm_region_take_arena(true).address) != 0, "no arena");
    for (size_t i = 0; i < ARENAS; i++)
        if (i >= GROUP - 1 && arenas[i] % PM_REGION_ALIGNMENT != 0)
            pm_region_return_arena(arenas[i]);
    others = arenas_taken();
}

Test(heap_random, balanced)
{
    run(PM_PURGE_BALANCED);
}

Test(heap_random, eager)
{
    run(PM_PURGE_EAGER);
}

Test(heap_random, never)
{
    run(PM_PURGE_NEVER);
}

Test(heap_random, balanced_with_huge_pages)
{
    make_program_large();
    run(PM_PURGE_BALANCED);
    REQUIRE(huge_seen, "no huge pages");
}

Test(heap_random, eager_with_huge_pages)
{
    make_program_large();
    run(PM_PURGE_EAGER);
    REQUIRE(huge_seen, "no huge pages");
}
