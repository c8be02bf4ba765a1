/* SPDX-License-Identifier: MIT
 *
 * magazine.h: light magazines. The blocks of a thread that does little come from the first heap and return there, its
 * magazines stay small, and it touches one page of its heap; with the first 16 KiB of a class moved that ends for the
 * class.
 */
#include "heap.h"

#include "options.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

enum { CLASS = 6, LIGHT_MAX = 16 << 10, MOST = 4 * LIGHT_MAX / (8 * CLASS) };

static struct pm_heap *first, *heap;
static void *blocks[MOST + 1];

static void
start(void)
{
    first = pm_heap_first();
    heap = pm_heap_create();
    REQUIRE(first != NULL && heap != NULL && first != heap, "no heaps");
}

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

static struct pm_heap *
owner(const void *block)
{
    return pm_arena_at(block)->heap;
}

static void
require_nothing_own(void)
{
    REQUIRE(heap->pools == 0 && !has_arenas(heap), "%zu pools of its own", heap->pools);
    require_lists(first);
    require_lists(heap);
}

/* From the first heap and back to it, block by block, and its magazines get no larger. */
Test(heap_light, blocks_come_from_the_first_heap_and_return_there, .init = start)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        for (unsigned i = 0; i < 10; i++) {
            blocks[i] = take(class);
            REQUIRE(owner(blocks[i]) == first, "class %u: a block of another heap", class);
        }
        for (unsigned i = 0; i < 10; i++)
            give(class, blocks[i]);
        REQUIRE(heap->magazines[class].capacity == pm_magazine_first(class), "class %u: %u entries", class,
                heap->magazines[class].capacity);
    }
    require_nothing_own();
    REQUIRE(pm_magazine_flush_all(heap), "nothing was left");
    REQUIRE(first->pools == 0 && !has_arenas(first), "%zu pools stay in use", first->pools);
    require_nothing_own();
}

/* Threads that do little share pages, with each other and with the main thread. */
Test(heap_light, light_heaps_share_pages, .init = start)
{
    struct pm_heap *light[8];
    void *main_block = pm_magazine_refill(first, CLASS);
    for (int i = 0; i < 8; i++) {
        light[i] = pm_heap_create();
        REQUIRE(pm_pool_of(pm_magazine_refill(light[i], CLASS)) == pm_pool_of(main_block), "heap %d: another page", i);
    }
    REQUIRE(first->classes[CLASS].pools == 1, "%u pools", first->classes[CLASS].pools);
}

/* Pages, but not cache lines: they would slow each other down by writing to their own blocks. */
Test(heap_light, light_heaps_share_no_cache_line_of_fresh_pools, .init = start)
{
    for (unsigned class = 1; class <= 64 / PM_GRANULE; class *= 2) {
        uintptr_t last = 0;
        for (int i = 0; i < 8; i++) {
            uintptr_t line = (uintptr_t)pm_magazine_refill(pm_heap_create(), class) / PM_CACHE_LINE;
            REQUIRE(line != last, "class %u: heaps %d and %d share a line", class, i - 1, i);
            last = line;
        }
    }
}

Test(heap_light, the_first_heap_is_never_light, .init = start)
{
    REQUIRE(first->magazines[CLASS].moved == 0, "%u bytes moved", first->magazines[CLASS].moved);
    for (int i = 0; i < 8; i++) {
        REQUIRE(owner(pm_magazine_refill(first, CLASS)) == first, "from elsewhere");
        while (pm_magazine_pop(&first->magazines[CLASS]) != NULL) {
        }
    }
    REQUIRE(first->magazines[CLASS].capacity == pm_magazine_capacity(CLASS), "%u", first->magazines[CLASS].capacity);
}

/* After 16 KiB: the next blocks are its own, the magazine grows, and those of the first heap still return to it.
 * Another class is as light as ever. */
Test(heap_light, it_ends_when_enough_has_moved, .init = start)
{
    unsigned borrowed = 0, count = 0;
    while (count < MOST) {
        bool light = heap->magazines[CLASS].moved < LIGHT_MAX;
        bool refilled = pm_magazine_count(&heap->magazines[CLASS]) == 0;
        blocks[count] = take(CLASS);
        REQUIRE(!refilled || owner(blocks[count]) == (light ? first : heap), "block %u, %zu bytes moved", count,
                (size_t)heap->magazines[CLASS].moved);
        borrowed += owner(blocks[count++]) == first;
    }
    size_t bytes = borrowed * pm_class_size(CLASS);
    REQUIRE(bytes >= LIGHT_MAX && bytes < LIGHT_MAX + PM_BATCH_MAX * pm_class_size(CLASS), "%zu bytes", bytes);
    REQUIRE(heap->magazines[CLASS].capacity > pm_magazine_first(CLASS), "%u", heap->magazines[CLASS].capacity);
    blocks[count] = take(CLASS + 1);
    REQUIRE(owner(blocks[count]) == first, "the other class is not light");
    give(CLASS + 1, blocks[count]);
    require_lists(heap);
    for (unsigned i = 0; i < count; i++)
        give(CLASS, blocks[i]);
    pm_magazine_flush_all(heap);
    REQUIRE(first->pools == 0 && heap->pools == 0, "%zu and %zu pools stay in use", first->pools, heap->pools);
    require_nothing_own();
}

/* Freeing counts as well: a thread that only frees what others have allocated. */
Test(heap_light, it_ends_by_frees_too, .init = start)
{
    for (unsigned i = 0; i < MOST; i++)
        give(CLASS, pm_heap_take_one(first, CLASS));
    REQUIRE(heap->magazines[CLASS].moved >= LIGHT_MAX, "%u bytes moved", heap->magazines[CLASS].moved);
    REQUIRE(heap->magazines[CLASS].capacity > pm_magazine_first(CLASS), "%u", heap->magazines[CLASS].capacity);
    pm_magazine_flush_all(heap);
    REQUIRE(owner(take(CLASS)) == heap, "still light");
}

static void *many[1 << 15];

/* The first heap has no free pool and there is no arena left, but the thread's own heap has free pools. */
Test(heap_light, own_pools_when_the_first_heap_has_none)
{
    enum { LARGE = PM_CLASS_LAST };
    unsigned count = 0;
    fresh_region((size_t)16 << 20); /* 63 arenas */
    start();
    heap->magazines[LARGE].moved = PM_MAGAZINE_MOVED_MAX;
    for (unsigned i = 0; i < (PM_ARENA_POOLS - 1) * pm_class_blocks(LARGE); i++)
        REQUIRE(pm_heap_take_one(first, LARGE) != NULL, "no block");
    while ((many[count] = take(LARGE)) != NULL)
        REQUIRE(++count < sizeof many / sizeof *many, "too many blocks");
    REQUIRE(pm_heap_take_one(first, CLASS) == NULL, "the first heap still has a pool");
    /* All but the first pool of each arena, so that none returns to the region. */
    for (unsigned i = 0; i < count; i++)
        if (pm_pool_index(pm_pool_at(many[i])) != 1)
            give(LARGE, many[i]);
    pm_magazine_flush_all(heap);
    void *block = take(CLASS);
    REQUIRE(block != NULL && owner(block) == heap, "%p, though its own heap has free pools", block);
    require_lists(heap);
}

/* With all that has passed through a magazine, taken and given, its capacity doubles until it is full; not earlier. */
Test(heap_light, the_capacity_is_earned, .init = start)
{
    for (unsigned class = 2; class <= PM_CLASS_LAST; class += 2) {
        const struct pm_magazine *magazine = &heap->magazines[class];
        unsigned full = pm_magazine_capacity(class), first_capacity = pm_magazine_first(class), grown = 0;
        while (magazine->capacity < full) {
            unsigned before = magazine->capacity;
            uint64_t moved = magazine->moved;
            REQUIRE(moved <= 2 * PM_MAGAZINE_MOVED_MAX, "class %u: %u of %u entries", class, before, full);
            give(class, pm_heap_take_one(first, class));
            if (magazine->capacity == before)
                continue;
            unsigned part = full / magazine->capacity;
            REQUIRE(before == 0 || moved * part >= PM_MAGAZINE_MOVED_MAX, "class %u: %u of %u entries after %zu bytes",
                    class, magazine->capacity, full, (size_t)moved);
            grown += before >= first_capacity;
        }
        REQUIRE(grown >= 2, "class %u: grown %u times", class, grown);
    }
}

/* ---- Memory ---- */

static size_t
heap_pages(void)
{
    uintptr_t start = (uintptr_t)heap;
    size_t bytes = sizeof *heap + heap->slots_count * sizeof(void *);
    return resident_pages((const void *)start, pm_round_up(bytes, PM_POOL_SIZE));
}

/* A few blocks of every class, the frees, and what the end of a period does to it. */
static void
do_little(void)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        blocks[class] = take(class);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        give(class, blocks[class]);
    REQUIRE(heap_pages() == 1, "%zu pages of the heap", heap_pages());
    pm_magazine_flush_all(heap);
    pm_heap_age(heap, test_now + 1000);
    REQUIRE(heap_pages() == 1, "%zu pages after a period", heap_pages());
}

static void *
do_little_in_a_thread(void *unused)
{
    (void)unused;
    heap = pm_process_heap();
    REQUIRE(heap != NULL && heap != first, "no heap of its own");
    REQUIRE(heap_pages() == 1, "%zu pages of a new heap", heap_pages());
    do_little();
    return NULL;
}

Test(heap_light, a_thread_that_does_little_touches_one_page, .init = start)
{
    pthread_t thread;
    heap = pm_heap_create();
    REQUIRE(heap_pages() == 1, "%zu pages of a new heap", heap_pages());
    REQUIRE(pthread_create(&thread, NULL, do_little_in_a_thread, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
    REQUIRE(heap->state == PM_HEAP_PARKED && heap->pools == 0, "%zu pools", heap->pools);
}
