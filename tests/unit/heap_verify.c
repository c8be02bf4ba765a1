/* SPDX-License-Identifier: MIT
 *
 * heap.h: pm_heap_verify finds each invariant that is broken, one at a time; what it passes over, the other tests
 * cannot rely on.
 */
#include "heap.h"

#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>

enum { CLASS = 64, OTHER_CLASS = 63, PER_POOL = 8 };

static struct pm_heap *heap;
static struct pm_class_pools *class;
static struct pm_pool *first, *second; /* on the class's list, in this order, each with one free block */

static void
make_heap(void)
{
    void *blocks[3 * PER_POOL];
    heap = busy_heap();
    class = &heap->classes[CLASS];
    for (int i = 0; i < 3 * PER_POOL; i++)
        blocks[i] = pm_heap_take_one(heap, CLASS);
    first = pm_pool_at(blocks[0]);
    second = pm_pool_at(blocks[PER_POOL]);
    pm_heap_return((void *[]){blocks[0], blocks[PER_POOL]}, 2, PM_FOUND_LATER);
    REQUIRE(class->first == first && first->next == second && class->last == second, "another list");
    pm_heap_verify(heap);
}

static void
verify(void *unused)
{
    (void)unused;
    pm_heap_verify(heap);
}

Test(heap_verify, pools_are_verified, .init = make_heap)
{
    second->free_count++;
    require_bug(verify, NULL, "a pool's count of free blocks is not that of its map");
}

Test(heap_verify, another_class_s_pool, .init = make_heap)
{
    heap->classes[OTHER_CLASS] = *class;
    require_bug(verify, NULL, "a pool is on the list of another class");
}

Test(heap_verify, a_full_pool, .init = make_heap)
{
    second->map[0] = 0;
    second->free_count = 0;
    require_bug(verify, NULL, "a full or a free pool is on its class's list");
}

Test(heap_verify, a_free_pool, .init = make_heap)
{
    second->map[0] = (1u << PER_POOL) - 1;
    second->free_count = PER_POOL;
    require_bug(verify, NULL, "a full or a free pool is on its class's list");
}

Test(heap_verify, a_wrong_link_back, .init = make_heap)
{
    second->previous = second;
    require_bug(verify, NULL, "the list of a class's pools is broken");
}

Test(heap_verify, another_end, .init = make_heap)
{
    class->last = first;
    require_bug(verify, NULL, "the list of a class's pools has another end");
}

Test(heap_verify, a_wrong_count, .init = make_heap)
{
    class->free_blocks++;
    require_bug(verify, NULL, "a class's count of free blocks is not that of its pools");
}

Test(heap_verify, a_pool_that_is_not_on_the_list, .init = make_heap)
{
    first->next = NULL;
    class->last = first;
    require_bug(verify, NULL, "a class's count of free blocks is not that of its pools");
}

/* The arena of the heap: three pools are used, the others were never. */
static struct pm_arena *
clean_arena(void)
{
    REQUIRE(heap->arenas[PM_ARENAS_CLEAN].first != NULL, "no arena");
    return heap->arenas[PM_ARENAS_CLEAN].first;
}

Test(heap_verify, another_heap_s_arena, .init = make_heap)
{
    clean_arena()->heap = &pm_heap_none;
    require_bug(verify, NULL, "an arena on a heap's list has no free pool, or another heap or list");
}

Test(heap_verify, an_arena_without_free_pools, .init = make_heap)
{
    clean_arena()->free_pools = 0;
    require_bug(verify, NULL, "an arena on a heap's list has no free pool, or another heap or list");
}

Test(heap_verify, the_descriptors_pool_is_free, .init = make_heap)
{
    clean_arena()->free_pools |= 1;
    require_bug(verify, NULL, "an arena on a heap's list has no free pool, or another heap or list");
}

Test(heap_verify, a_pool_is_both_free_and_assigned, .init = make_heap)
{
    clean_arena()->free_pools = PM_ARENA_ALL_POOLS;
    require_bug(verify, NULL, "an arena has more pools than it can");
}

Test(heap_verify, an_arena_of_another_list, .init = make_heap)
{
    clean_arena()->list = PM_ARENAS_NO_LIST;
    require_bug(verify, NULL, "an arena on a heap's list has no free pool, or another heap or list");
}

static const char purgeable_wrong[] = "an arena's pools can be purged, or not, against what is known of them";

Test(heap_verify, a_dirty_pool_that_nobody_knows_of, .init = make_heap)
{
    clean_arena()->dirty_pools |= pm_arena_bit(60);
    require_bug(verify, NULL, purgeable_wrong);
}

Test(heap_verify, an_arena_whose_count_is_wrong, .init = make_heap)
{
    clean_arena()->purgeable = 1;
    require_bug(verify, NULL, purgeable_wrong);
}

/* It says itself that it is on the clean list, and is; it belongs on the dirty one. */
Test(heap_verify, a_dirty_arena_on_the_clean_list, .init = make_heap)
{
    clean_arena()->dirty_pools |= pm_arena_bit(60);
    clean_arena()->purgeable = 1;
    require_bug(verify, NULL, purgeable_wrong);
}

Test(heap_verify, a_wrong_count_of_dirty_pools, .init = make_heap)
{
    heap->keep.dirty++;
    require_bug(verify, NULL, "a heap's count of pools that can be purged is not that of its arenas");
}
