/* SPDX-License-Identifier: MIT
 *
 * heap.h: magazines and batches. What a refill takes, what a flush returns and in which order, how magazines grow, the
 * checking mode, and the magazines with blocks of the system allocator. One heap, made for the test: a heap is the
 * calling thread's as long as no other thread uses it.
 */
#include "heap.h"

#include "options.h"
#include "region.h"
#include "support/check.h"
#include "system.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct pm_heap *heap;

static void
make_heap(void)
{
    heap = busy_heap();
}

/* malloc and free of a size class, as the fast path does it. */
static void *
take(unsigned class)
{
    void *block = pm_magazine_pop(&heap->magazines[class]);
    return block != NULL ? block : pm_magazine_refill(heap, class);
}

static void
give(unsigned class, void *block)
{
    if (!pm_magazine_push(&heap->magazines[class], block))
        pm_magazine_flush(heap, class, block);
}

/* ---- Making a heap ---- */

Test(heap, a_new_heap_is_empty, .init = make_heap)
{
    for (unsigned number = 0; number < PM_MAGAZINE_COUNT; number++) {
        REQUIRE(pm_magazine_pop(&heap->magazines[number]) == NULL, "magazine %u is not empty", number);
        REQUIRE(!pm_magazine_push(&heap->magazines[number], heap), "magazine %u is not full", number);
    }
    for (size_t size = 0; size <= PM_TABLE_MAX; size++)
        REQUIRE(heap->magazine_offset[(size + 7) / 8] / sizeof(struct pm_magazine) ==
                    pm_magazine_of_granules((size + 7) / 8, 16), "size %zu", size);
    REQUIRE(!pm_magazine_flush_all(heap), "an empty heap was flushed");
    pm_heap_verify(heap);
}

Test(heap, in_compact_mode_every_class_serves)
{
    pm_options.alignment = 8;
    make_heap();
    for (size_t size = 0; size <= 512; size++)
        REQUIRE(heap->magazine_offset[(size + 7) / 8] / sizeof(struct pm_magazine) == (size <= 8 ? 1 : (size + 7) / 8),
                "size %zu", size);
}

/* The heap of threads that have none yet; that of threads that had one is a copy of it (process.c). */
Test(heap, the_empty_heap_stays_empty)
{
    for (size_t granules = 0; granules < PM_GRANULE_COUNT; granules++) {
        size_t number = pm_heap_none.magazine_offset[granules] / sizeof(struct pm_magazine);
        struct pm_magazine *magazine = &pm_heap_none.magazines[number];
        REQUIRE(pm_magazine_pop(magazine) == NULL && !pm_magazine_push(magazine, heap), "%zu granules", granules);
    }
}

/* ---- Refill ---- */

/* Batches never get smaller, and in the end they are half of the full capacity; each class begins with the first block
 * of a pool and goes on upwards. */
Test(heap, refills_grow_to_half_a_magazine_in_ascending_order, .init = make_heap)
{
    for (unsigned class = 2; class <= PM_CLASS_LAST; class++) {
        unsigned last = 0, refills = 0, most = pm_magazine_capacity(class) / 2;
        uint64_t blocks = 0;
        char *before = NULL;
        for (; last < most && refills < 100; refills++) {
            char *block = take(class);
            unsigned more = pm_magazine_count(&heap->magazines[class]);
            unsigned left = (unsigned)heap->classes[class].free_blocks;
            REQUIRE(more + 1 <= most, "class %u: a batch of %u", class, more + 1);
            REQUIRE(more + 1 >= last || left == 0, "class %u: a batch of %u after %u", class, more + 1, last);
            last = more + 1 > last ? more + 1 : last;
            blocks += more + 1;
            for (; block != NULL; block = pm_magazine_pop(&heap->magazines[class])) {
                size_t size = pm_class_size(class);
                bool first = pm_pool_of(block) == (uintptr_t)block;
                REQUIRE(first ? before == NULL || pm_pool_of(block) > pm_pool_of(before) : block == before + size,
                        "class %u: %p after %p", class, (void *)block, (void *)before);
                before = block;
            }
        }
        const struct pm_class_counts *counts = &heap->classes[class].counts;
        REQUIRE(last == most, "class %u: batches of %u after %u refills", class, last, refills);
        REQUIRE(counts->refills == refills && counts->refilled == blocks, "class %u: %zu in %zu", class,
                (size_t)counts->refilled, (size_t)counts->refills);
    }
    pm_heap_verify(heap);
}

/* A batch is cut short where the next block would cost a pool. */
Test(heap, refill_takes_a_new_pool_only_for_the_block_it_needs, .init = make_heap)
{
    enum { CLASS = 64 }; /* 8 blocks to a pool */
    struct pm_magazine *magazine = &heap->magazines[CLASS];
    void *blocks[8];
    for (int i = 0; i < 8; i++)
        blocks[i] = pm_heap_take_one(heap, CLASS);
    REQUIRE(heap->classes[CLASS].pools == 1, "%u pools", heap->classes[CLASS].pools);
    pm_heap_return((void *[]){blocks[6], blocks[2], blocks[5]}, 3, PM_FOUND_LATER);
    REQUIRE(take(CLASS) == blocks[2], "not the lowest block");
    REQUIRE(pm_magazine_count(magazine) == 0, "the first refill takes %u more", pm_magazine_count(magazine));
    REQUIRE(take(CLASS) == blocks[5] && pm_magazine_count(magazine) == 1, "%u more", pm_magazine_count(magazine));
    REQUIRE(heap->classes[CLASS].pools == 1, "%u pools", heap->classes[CLASS].pools);
    REQUIRE(take(CLASS) == blocks[6], "not the next one");
    REQUIRE(take(CLASS) != NULL && heap->classes[CLASS].pools == 2, "%u pools", heap->classes[CLASS].pools);
    pm_heap_verify(heap);
}

/* ---- Flush ---- */

Test(heap, flush_returns_the_oldest_half, .init = make_heap)
{
    static void *blocks[PM_MAGAZINE_MAX + 1];
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        unsigned capacity = pm_magazine_capacity(class), oldest = (capacity + 1) / 2;
        struct pm_magazine *magazine = &heap->magazines[class];
        for (unsigned i = 0; i <= capacity; i++)
            blocks[i] = pm_heap_take_one(heap, class);
        pm_heap_current = heap; /* it is this thread's: nothing is remote */
        for (unsigned i = 0; i < capacity; i++)
            give(class, blocks[i]);
        REQUIRE(pm_magazine_count(magazine) == capacity, "class %u: %u entries", class, pm_magazine_count(magazine));
        REQUIRE(heap->classes[class].counts.flushed == 0, "class %u: flushed early", class);
        give(class, blocks[capacity]);
        for (unsigned i = 0; i <= capacity; i++) {
            enum pm_fault fault = pm_pool_check(blocks[i]);
            bool pool_gone = fault == PM_FAULT_POOL_FREE;
            REQUIRE((fault == PM_FAULT_NONE) == (i >= oldest) && (!pool_gone || i < oldest), "class %u: entry %u, %d",
                    class, i, fault);
        }
        REQUIRE(heap->classes[class].counts.flushed == oldest && heap->classes[class].counts.flushes == 1,
                "class %u: %zu blocks", class, (size_t)heap->classes[class].counts.flushed);
        REQUIRE(heap->classes[class].counts.flushed_remote == 0, "class %u: remote", class);
        for (unsigned i = capacity + 1; i-- > oldest;)
            REQUIRE(pm_magazine_pop(magazine) == blocks[i], "class %u: entry %u is not the next", class, i);
    }
    pm_heap_verify(heap);
}

/* ---- Growing ---- */

enum { DOUBLED = PM_MAGAZINE_MAX << PM_MAGAZINE_DOUBLINGS };

static char entries[PM_MAGAZINE_COUNT][DOUBLED];

/* Puts entries on the magazine until there are `count`. */
static void
fill(unsigned number, unsigned count)
{
    for (unsigned i = pm_magazine_count(&heap->magazines[number]); i < count; i++)
        give(number, &entries[number][i]); /* makes room and looks at no block */
    REQUIRE(pm_magazine_count(&heap->magazines[number]) == count, "magazine %u: %u entries", number,
            pm_magazine_count(&heap->magazines[number]));
}

static void
fill_and_grow(unsigned number)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    unsigned full = pm_magazine_capacity(number), first = pm_magazine_first(number);
    unsigned expected = full < first ? full : first;
    fill(number, expected);
    REQUIRE(magazine->capacity == expected, "magazine %u: begins with %u", number, magazine->capacity);
    for (unsigned halvings = PM_MAGAZINE_HALVINGS + 1; halvings-- > 0;) {
        magazine->moved = PM_MAGAZINE_MOVED_MAX >> halvings;
        if (full >> halvings <= expected)
            continue;
        fill(number, expected + 1);
        expected = full >> halvings;
        REQUIRE(magazine->capacity == expected, "magazine %u: %u instead of %u", number, magazine->capacity, expected);
        fill(number, expected);
    }
    for (unsigned doublings = 1; doublings <= PM_MAGAZINE_DOUBLINGS + 2; doublings++) {
        unsigned most = doublings < PM_MAGAZINE_DOUBLINGS ? doublings : PM_MAGAZINE_DOUBLINGS;
        pm_magazine_missed(heap, number);
        REQUIRE(magazine->capacity == full << most && !magazine->turned, "magazine %u: %u", number,
                magazine->capacity);
        fill(number, full << most);
    }
}

/* Every magazine gets each of its capacities: the slots are enough, and no two magazines share one. */
Test(heap, magazines_grow_and_keep_what_they_hold, .init = make_heap)
{
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++)
        fill_and_grow(number);
    REQUIRE(heap->first_slots_used <= PM_FIRST_SLOTS && heap->slots_used <= heap->slots_count, "%u, %u of %u slots",
            heap->first_slots_used, heap->slots_used, heap->slots_count);
    REQUIRE(heap->first_slots_used + heap->slots_used == heap->slots_count, "%u and %u slots of %u",
            heap->first_slots_used, heap->slots_used, heap->slots_count);
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        struct pm_magazine *magazine = &heap->magazines[number];
        REQUIRE(pm_magazine_base(magazine)[-1] == NULL && magazine->top == magazine->limit, "%u", number);
        for (unsigned i = pm_magazine_capacity(number) << PM_MAGAZINE_DOUBLINGS; i-- > 0;)
            REQUIRE(pm_magazine_pop(magazine) == &entries[number][i], "magazine %u: entry %u", number, i);
        REQUIRE(pm_magazine_pop(magazine) == NULL, "magazine %u is not empty", number);
    }
}

/* A program that takes so many blocks of the class, and frees them, again and again. */
static void
swing(unsigned class, unsigned count, int times)
{
    static void *blocks[4 * DOUBLED];
    while (times-- > 0) {
        for (unsigned i = 0; i < count; i++)
            REQUIRE((blocks[i] = take(class)) != NULL, "no block");
        for (unsigned i = 0; i < count; i++)
            give(class, blocks[i]);
    }
}

/* With each turn it doubles, and it stops at four times its size. */
Test(heap, magazines_that_turn_grow, .init = make_heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_magazine *magazine = &heap->magazines[class];
        unsigned full = pm_magazine_capacity(class), grown = 0;
        for (int turn = 0; turn < 12; turn++) {
            unsigned before = magazine->capacity;
            swing(class, 3 * full << PM_MAGAZINE_DOUBLINGS, 1);
            REQUIRE(magazine->turned, "class %u has not turned", class);
            REQUIRE(before < full || magazine->capacity == before || magazine->capacity == 2 * before,
                    "class %u: %u after %u", class, magazine->capacity, before);
            grown += before >= full && magazine->capacity != before;
        }
        REQUIRE(magazine->capacity == full << PM_MAGAZINE_DOUBLINGS && grown == PM_MAGAZINE_DOUBLINGS,
                "class %u: %u entries instead of %u", class, magazine->capacity, full << PM_MAGAZINE_DOUBLINGS);
    }
    pm_heap_verify(heap);
}

/* What goes to and fro within the magazine, or one way only, needs no larger one. */
Test(heap, magazines_that_do_not_turn_keep_their_size, .init = make_heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_magazine *magazine = &heap->magazines[class];
        unsigned full = pm_magazine_capacity(class);
        swing(class, full / 2, 50);
        REQUIRE(magazine->capacity == full, "class %u: %u", class, magazine->capacity);
        for (unsigned i = 0; i < 3 * full; i++)
            take(class);
        REQUIRE(magazine->capacity == full, "class %u: %u by taking only", class, magazine->capacity);
        for (unsigned i = 0; i < 3 * full; i++)
            give(class, pm_heap_take_one(heap, class));
        REQUIRE(magazine->capacity == full && magazine->turned, "class %u: %u by giving only", class,
                magazine->capacity);
        pm_magazine_flush_all(heap);
        REQUIRE(!magazine->turned, "class %u: has turned before it was emptied", class);
    }
    pm_heap_verify(heap);
}

/* ---- Emptying ---- */

Test(heap, flush_all_empties_every_magazine, .init = make_heap)
{
    struct pm_region_counts counts;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        give(class, take(class));
    for (unsigned number = PM_CLASS_LAST + 1; number < PM_MAGAZINE_COUNT; number++)
        pm_magazine_flush(heap, number, pm_system.malloc(pm_magazine_block_size(number)));
    REQUIRE(pm_magazine_flush_all(heap), "nothing was flushed");
    for (unsigned number = 0; number < PM_MAGAZINE_COUNT; number++)
        REQUIRE(pm_magazine_count(&heap->magazines[number]) == 0, "magazine %u", number);
    REQUIRE(!pm_magazine_flush_all(heap), "flushed twice");
    pm_heap_verify(heap);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0, "%zu arenas", counts.arenas);
}

/* Makes the magazine as large as it gets, and fills it with blocks of the class. */
static void
fill_large(unsigned class)
{
    swing(class, 3 * pm_magazine_capacity(class) << PM_MAGAZINE_DOUBLINGS, 6);
    while (pm_magazine_count(&heap->magazines[class]) < pm_magazine_capacity(class) << PM_MAGAZINE_DOUBLINGS)
        give(class, pm_heap_take_one(heap, class));
}

/* They hold more than a batch. */
Test(heap, flush_all_empties_large_magazines, .init = make_heap)
{
    struct pm_region_counts counts;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        fill_large(class);
    REQUIRE(pm_magazine_count(&heap->magazines[1]) > 2 * PM_BATCH_MAX, "%u entries",
            pm_magazine_count(&heap->magazines[1]));
    REQUIRE(pm_magazine_flush_all(heap) && !pm_magazine_flush_all(heap), "not at once");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        REQUIRE(pm_magazine_count(&heap->magazines[class]) == 0 && heap->classes[class].pools == 0, "class %u", class);
    require_lists(heap);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0, "%zu arenas", counts.arenas);
}

/* ---- The checking mode ---- */

static void
free_twice(void *block)
{
    pm_magazine_flush(heap, 4, block);
    pm_magazine_flush(heap, 4, block);
}

Test(heap, checking_means_no_magazines)
{
    char line[200];
    pm_options.check = 1;
    make_heap();
    char *first = pm_magazine_refill(heap, 4), *second = pm_magazine_refill(heap, 4);
    REQUIRE(second == first + 32, "not neighbours");
    REQUIRE(heap->magazines[4].capacity == 0 && heap->first_slots_used + heap->slots_used == 0, "a magazine");
    pm_magazine_flush(heap, 4, first);
    REQUIRE(pm_pool_check(first) == PM_FAULT_FREE, "the block waits somewhere");
    REQUIRE(pm_magazine_refill(heap, 4) == first, "not the lowest free block");
    snprintf(line, sizeof line, "poolmalloc: free(%p): the block is already free (double free)\n", (void *)first);
    require_abort(free_twice, first, line);
    pm_heap_verify(heap);
}

/* ---- Blocks of the system allocator ---- */

static void *given_back[DOUBLED];
static unsigned given_back_count;

static void
note_free(void *block)
{
    given_back[given_back_count++] = block;
}

Test(heap, system_blocks_leave_oldest_first, .init = make_heap)
{
    static char blocks[PM_MAGAZINE_MAX + 1];
    pm_system.free = note_free;
    for (unsigned number = PM_CLASS_LAST + 1; number < PM_MAGAZINE_COUNT; number++) {
        unsigned capacity = pm_magazine_capacity(number), oldest = (capacity + 1) / 2;
        given_back_count = 0;
        for (unsigned i = 0; i <= capacity; i++)
            give(number, &blocks[i]);
        REQUIRE(given_back_count == oldest, "magazine %u: %u blocks were given back", number, given_back_count);
        for (unsigned i = 0; i < oldest; i++)
            REQUIRE(given_back[i] == &blocks[i], "magazine %u: not block %u", number, i);
        for (unsigned i = capacity + 1; i-- > oldest;)
            REQUIRE(pm_magazine_pop(&heap->magazines[number]) == &blocks[i], "magazine %u: not block %u", number, i);
    }
    pm_options.check = 1;
    make_heap();
    given_back_count = 0;
    pm_magazine_flush(heap, PM_MAGAZINE_COUNT - 1, &blocks[50]);
    REQUIRE(given_back_count == 1 && given_back[0] == &blocks[50], "a magazine in checking mode");
}

/* Whoever finds one empty that was flushed before says so; of a large one a batch leaves at a time, and at last all. */
Test(heap, system_magazines_that_turn_grow, .init = make_heap)
{
    enum { NUMBER = PM_CLASS_LAST + 1 };
    static char blocks[DOUBLED + 1];
    struct pm_magazine *magazine = &heap->magazines[NUMBER];
    unsigned full = pm_magazine_capacity(NUMBER), next = 0;
    pm_system.free = note_free;
    for (unsigned doublings = 1; doublings <= PM_MAGAZINE_DOUBLINGS; doublings++) {
        while (!magazine->turned)
            give(NUMBER, &blocks[next++ % DOUBLED]);
        while (pm_magazine_pop(magazine) != NULL) {
        }
        pm_magazine_missed(heap, NUMBER);
        REQUIRE(magazine->capacity == full << doublings && !magazine->turned, "%u entries", magazine->capacity);
        given_back_count = 0;
    }
    for (unsigned i = 0; i < magazine->capacity; i++)
        give(NUMBER, &blocks[i]);
    REQUIRE(given_back_count == 0 && magazine->top == magazine->limit, "not so many");
    unsigned count = magazine->capacity;
    REQUIRE(pm_magazine_flush_all(heap) && given_back_count == count, "%u of %u were given back", given_back_count, count);
    for (unsigned i = 0; i < count; i++)
        REQUIRE(given_back[i] == &blocks[i], "not block %u", i);
}
