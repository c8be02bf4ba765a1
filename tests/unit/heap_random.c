/* SPDX-License-Identifier: MIT
 *
 * heap.h: many random operations on several heaps, against a model of which blocks are in use; every invariant is
 * verified on the way. One thread does what three would: threads.c has the real ones.
 */
#include "heap.h"

#include "region.h"
#include "support/blocks.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>

enum { HEAPS = 3, SLOTS = 20000, STEPS = 300000 };

static struct {
    void *block;
    unsigned class;
} slots[SLOTS];

static struct pm_heap *heaps[HEAPS];

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
    for (int i = 0; i < HEAPS; i++)
        pm_heap_verify(heaps[i]);
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
            slots[at].block = pm_heap_refill(heap, class);
        REQUIRE(slots[at].block != NULL, "no block of class %u", class);
        slots[at].class = class;
        pattern_write(slots[at].block, pm_class_size(class), at);
    } else if (slots[at].block != NULL && random_below(random, 100) >= fill_percent) {
        unsigned class = slots[at].class;
        size_t size = pm_class_size(class);
        REQUIRE(pattern_holds(slots[at].block, size, size, at), "a block of class %u was overwritten", class);
        REQUIRE(pm_pool_check(slots[at].block) == PM_FAULT_NONE, "a block in use is free");
        if (!pm_magazine_push(&heap->magazines[class], slots[at].block))
            pm_heap_flush(heap, class, slots[at].block);
        slots[at].block = NULL;
    }
}

Test(heap_random, several_heaps)
{
    struct random random = {test_seed("heap_random")};
    for (int i = 0; i < HEAPS; i++)
        heaps[i] = pm_heap_create();
    for (size_t i = 0; i < STEPS; i++) {
        step(&random, i / 50000 % 2 == 0 ? 80 : 20);
        if (i % 5000 == 0)
            verify_all();
        if (i % 10000 == 0)
            pm_heap_purge(heaps[random_below(&random, HEAPS)], i % 20000 == 0);
        if (i % 30000 == 0)
            pm_heap_flush_all(heaps[random_below(&random, HEAPS)]);
    }
    for (size_t i = 0; i < 20 * SLOTS; i++)
        step(&random, 0);
    verify_all();
    for (int i = 0; i < HEAPS; i++)
        pm_heap_flush_all(heaps[i]);
    verify_all();
    REQUIRE(arenas_taken() == 0, "%zu arenas", arenas_taken());
}
