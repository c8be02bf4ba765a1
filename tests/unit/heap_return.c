/* SPDX-License-Identifier: MIT
 *
 * heap.h: blocks that return to the heaps they came from, whoever frees them. Batches of several owners, what is
 * counted as remote, and wrong pointers in the middle of a batch.
 */
#include "heap.h"

#include "process.h"
#include "region.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { HEAPS = 4, EACH = 100, CLASS = 5 };

static struct pm_heap *heaps[HEAPS];
static void *blocks[HEAPS * EACH];

/* EACH blocks of every heap; the first heap is the calling thread's. */
static void
make_heaps(void)
{
    for (int i = 0; i < HEAPS; i++) {
        heaps[i] = i == 0 ? pm_process_heap() : busy_heap();
        REQUIRE(heaps[i] != NULL, "no heap");
        for (int k = 0; k < EACH; k++)
            blocks[i * EACH + k] = pm_heap_take_one(heaps[i], CLASS);
        REQUIRE(pm_arena_at(blocks[i * EACH])->heap == heaps[i], "the block of another heap");
    }
}

static void
shuffle(void **array, size_t count, struct random *random)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = random_below(random, i);
        void *block = array[i - 1];
        array[i - 1] = array[other];
        array[other] = block;
    }
}

static void
require_counts(int heap, unsigned flushed, unsigned remote, unsigned flushes)
{
    const struct pm_class_counts *counts = &heaps[heap]->classes[CLASS].counts;
    REQUIRE(counts->flushed == flushed, "heap %d: %zu flushed", heap, (size_t)counts->flushed);
    REQUIRE(counts->flushed_remote == remote, "heap %d: %zu flushed by others", heap, (size_t)counts->flushed_remote);
    REQUIRE(counts->flushes == flushes, "heap %d: %zu batches", heap, (size_t)counts->flushes);
}

/* One lock and one batch for each owner, however the blocks are mixed. */
Test(heap_return, a_batch_of_several_owners, .init = make_heaps)
{
    struct random random = {test_seed("heap_return")};
    struct pm_region_counts counts;
    shuffle(blocks, HEAPS * EACH, &random);
    pm_heap_return(blocks, HEAPS * EACH, PM_FOUND_LATER);
    for (int i = 0; i < HEAPS; i++) {
        require_counts(i, EACH, i == 0 ? 0 : EACH, 1);
        REQUIRE(heaps[i]->classes[CLASS].pools == 0 && !has_arenas(heaps[i]), "heap %d keeps pools", i);
        pm_heap_verify(heaps[i]);
    }
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0, "%zu arenas", counts.arenas);
}

Test(heap_return, small_batches_in_any_order, .init = make_heaps)
{
    struct random random = {test_seed("heap_return")};
    shuffle(blocks, HEAPS * EACH, &random);
    for (unsigned at = 0; at < HEAPS * EACH;) {
        unsigned count = 1 + (unsigned)random_below(&random, 64);
        count = count < HEAPS * EACH - at ? count : HEAPS * EACH - at;
        pm_heap_return(blocks + at, count, PM_FOUND_LATER);
        at += count;
        for (int i = 0; i < HEAPS; i++)
            pm_heap_verify(heaps[i]);
    }
    for (int i = 0; i < HEAPS; i++)
        REQUIRE(heaps[i]->classes[CLASS].counts.flushed == EACH, "heap %d: not all came back", i);
}

/* A thread's full magazine holds blocks of other heaps: what leaves it goes to each block's owner. */
Test(heap_return, a_flush_brings_each_block_to_its_owner, .init = make_heaps)
{
    struct random random = {test_seed("heap_return")};
    shuffle(blocks, HEAPS * EACH, &random);
    for (unsigned i = 0; i < HEAPS * EACH; i++)
        if (!pm_magazine_push(&heaps[0]->magazines[CLASS], blocks[i]))
            pm_magazine_flush(heaps[0], CLASS, blocks[i]);
    pm_magazine_flush_all(heaps[0]);
    for (int i = 0; i < HEAPS; i++) {
        const struct pm_class_counts *counts = &heaps[i]->classes[CLASS].counts;
        REQUIRE(counts->flushed == EACH && counts->flushed_remote == (i == 0 ? 0 : EACH), "heap %d: %zu, %zu", i,
                (size_t)counts->flushed, (size_t)counts->flushed_remote);
        REQUIRE(!has_arenas(heaps[i]), "heap %d keeps an arena", i);
        pm_heap_verify(heaps[i]);
    }
}

Test(heap_return, a_thread_without_a_heap_takes_and_returns, .init = make_heaps)
{
    pm_heap_current = &pm_heap_late;
    void *block = pm_heap_take_one(heaps[0], CLASS);
    pm_heap_return(&block, 1, PM_FOUND_AT_ONCE);
    require_counts(0, 1, 1, 1);
}

/* ---- Wrong pointers ---- */

static void
return_three(void *batch)
{
    pm_heap_return(batch, 3, PM_FOUND_LATER);
}

/* The batch: blocks of two owners, and something wrong behind or between them. The lock must be free when it is
 * reported, so the line is compared, and a report that waits for a lock hangs the test. */
static void
require_fault(void *second, void *third, void *wrong, const char *what)
{
    char line[300];
    void *batch[3] = {blocks[EACH], second, third};
    snprintf(line, sizeof line, "poolmalloc: free(%p): %s, found when it returned to its pool\n", wrong, what);
    require_abort(return_three, batch, line);
}

Test(heap_return, wrong_pointers_in_a_batch, .init = make_heaps, .timeout = 20)
{
    char *own = blocks[EACH + 1], *other = blocks[2 * EACH], *arena = (char *)pm_arena_at(own);
    char inside[200];
    require_fault(blocks[EACH], other, blocks[EACH], "the block is already free (double free)");
    require_fault(other, other, other, "the block is already free (double free)");
    snprintf(inside, sizeof inside, "points 8 bytes into the 40-byte block at %p", (void *)own);
    require_fault(own + 8, other, own + 8, inside);
    snprintf(inside, sizeof inside, "points 39 bytes into the 40-byte block at %p", (void *)other);
    require_fault(own, other + 39, other + 39, inside);
    char *remainder = (char *)pm_pool_of(own) + 4080;
    require_fault(remainder, other, remainder, "points behind the last block of its pool");
    require_fault(arena, other, arena, "no block is in use there, its pool is free (double free or dangling pointer)");
    require_fault(other, arena + PM_ARENA_SIZE - 4096, arena + PM_ARENA_SIZE - 4096,
                  "no block is in use there, its pool is free (double free or dangling pointer)");
}

/* All blocks are free, the arena is the region's again. */
Test(heap_return, a_pointer_into_a_returned_arena, .init = make_heaps, .timeout = 20)
{
    void *dangling = blocks[3 * EACH];
    void *batch[EACH];
    memcpy(batch, blocks + 3 * EACH, sizeof batch);
    pm_heap_return(batch, EACH, PM_FOUND_LATER);
    require_fault(dangling, blocks[2 * EACH], dangling,
                  "no block is in use there, its pool is free (double free or dangling pointer)");
}
