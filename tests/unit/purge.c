/* SPDX-License-Identifier: MIT
 *
 * purge.h: what the end of a period does for pools, arenas and magazines, in the thread's own heap and in others; the
 * policies; and giving back everything. The clock is the test's.
 */
#include "purge.h"

#include "options.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A class with eight blocks to a pool; of POOLS pools three in four become free. */
enum { CLASS = 64, PER_POOL = 8, POOLS = 400, FREED = POOLS / 4 * 3, BASE = 32, PERIOD = 100 };

static void *blocks[POOLS * PER_POOL];
static struct pm_heap *own;

/* Takes all blocks of POOLS pools of a heap and writes to them. */
static void
take(struct pm_heap *heap)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++) {
        blocks[i] = pm_heap_take_one(heap, CLASS);
        memset(blocks[i], 7, 512);
    }
}

/* Returns the blocks but those of every fourth pool. */
static void
give_most(void)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (i / PER_POOL % 4 != 3)
            pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
}

static void
take_most(struct pm_heap *heap)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (i / PER_POOL % 4 != 3) {
            blocks[i] = pm_heap_take_one(heap, CLASS);
            memset(blocks[i], 7, 512);
        }
}

static void
give_rest(void)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (i / PER_POOL % 4 == 3)
            pm_heap_return(&(void *){blocks[i]}, 1, PM_FOUND_LATER);
}

/* Of the pools that give_most makes free. */
static size_t
resident(void)
{
    size_t count = 0;
    for (size_t i = 0; i < POOLS; i++)
        count += i % 4 != 3 && page_is_resident(blocks[i * PER_POOL]);
    return count;
}

static void
require_contents(void)
{
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        REQUIRE(i / PER_POOL % 4 != 3 || *(char *)blocks[i] == 7, "block %zu lost its contents", i);
}

static void
start(void)
{
    own = pm_process_heap();
    REQUIRE(pm_options.purge == PM_PURGE_BALANCED && pm_options.huge_pages == 1, "the defaults");
    pm_purge_tick(own);
}

/* A heap that has learned to keep all that give_most makes free. */
static void
learn(struct pm_heap *heap)
{
    take(heap);
    give_most();
    take_most(heap);
    give_most();
    REQUIRE(resident() == FREED, "%zu of %u are kept", resident(), FREED);
}

/* ---- Pools ---- */

/* Nothing waits for the end of a period. */
Test(purge, what_is_above_the_limit_goes_at_once, .init = start)
{
    take(own);
    give_most();
    REQUIRE(resident() <= BASE + POOLS / 4 / 64, "%zu are left", resident());
    require_contents();
    require_lists(own);
}

/* What a period did without goes at its end, and not before: 32 pools for each of its milliseconds. */
Test(purge, what_was_learned_goes_with_time, .init = start)
{
    learn(own);
    test_now += PERIOD - 1;
    pm_purge_tick(own);
    REQUIRE(resident() == FREED, "%zu before the period is over", resident());
    test_now += 1;
    pm_purge_tick(own);
    REQUIRE(resident() == FREED, "%zu after the period in which it was needed", resident());
    test_now += PERIOD - 1;
    pm_purge_tick(own);
    REQUIRE(resident() == FREED, "%zu before the second period is over", resident());
    test_now += 1;
    pm_purge_tick(own);
    REQUIRE(resident() == own->keep.dirty && resident() <= BASE + POOLS / 4 / 64, "%zu after the period", resident());
    require_contents();
    require_lists(own);
}

/* What is used in every wave stays, wherever in a wave the periods end; once a little goes, as runs move about. */
Test(purge, waves_keep_their_memory, .init = start)
{
    size_t in_vain = 0;
    learn(own);
    for (int wave = 0; wave < 60; wave++) {
        take_most(own);
        test_now += 30;
        pm_purge_tick(own);
        give_most();
        test_now += 15;
        pm_purge_tick(own);
        in_vain += FREED - resident();
    }
    REQUIRE(in_vain <= FREED, "%zu pools given back in 60 waves of %u", in_vain, FREED);
    REQUIRE(resident() == FREED, "%zu of %u are kept in the end", resident(), FREED);
}

static void
end_period_a_moment_later(void)
{
    test_now += 1;
    pm_purge_tick(own);
}

/* A thread that looks at the clock may be stopped there while another one, a moment later, ends the period: the first
 * must not take its own time, which is now before the new period's start, for the end of that. */
Test(purge, a_period_ends_once, .init = start)
{
    learn(own);
    test_now += PERIOD;
    test_meanwhile = end_period_a_moment_later;
    pm_purge_tick(own);
    REQUIRE(own->keep.aged_at == test_now, "the heap was looked at again, %lld ms later",
            (long long)(own->keep.aged_at - test_now));
    uint64_t then = test_now;
    test_now += PERIOD - 1;
    pm_purge_tick(own);
    REQUIRE(own->keep.aged_at == then, "looked at before the period is over");
    test_now += 1;
    pm_purge_tick(own);
    REQUIRE(own->keep.aged_at == test_now, "not looked at after the period");
}

/* ---- Other threads' heaps ---- */

static void *
learn_in_a_thread(void *unused)
{
    (void)unused;
    struct pm_heap *heap = pm_process_heap();
    learn(heap);
    return heap;
}

static void *
take_in_a_thread(void *unused)
{
    (void)unused;
    struct pm_heap *heap = pm_process_heap();
    take(heap);
    return heap;
}

static struct pm_heap *
run(void *(*function)(void *))
{
    pthread_t thread;
    void *heap;
    REQUIRE(pthread_create(&thread, NULL, function, NULL) == 0, "no thread");
    pthread_join(thread, &heap);
    return heap;
}

/* Any thread's tick serves all heaps: here a heap that nobody uses. */
Test(purge, heaps_of_others_are_balanced_too, .init = start)
{
    struct pm_heap *parked = run(learn_in_a_thread);
    REQUIRE(parked != own && parked->state == PM_HEAP_PARKED && resident() == FREED, "%zu", resident());
    for (int period = 0; period < 2; period++) {
        test_now += PERIOD;
        pm_purge_tick(own);
    }
    REQUIRE(resident() == parked->keep.dirty && resident() <= BASE + POOLS / 4 / 64, "%zu after two periods",
            resident());
    require_contents();
    require_lists(parked);
}

/* The thread that allocated has exited; what this one frees is given back in this thread, without any tick. */
Test(purge, frees_into_a_parked_heap_give_back_at_once, .init = start)
{
    struct pm_heap *parked = run(take_in_a_thread);
    REQUIRE(parked->state == PM_HEAP_PARKED && resident() == FREED, "%zu", resident());
    for (size_t i = 0; i < POOLS * PER_POOL; i++)
        if (i / PER_POOL % 4 != 3)
            pm_free(blocks[i]);
    pm_magazine_flush_all(own);
    REQUIRE(resident() == parked->keep.dirty && resident() <= BASE + POOLS / 4 / 64, "%zu are left", resident());
    require_contents();
    require_lists(parked);
}

/* Frees pools from `first` on until the heap is at its limit. */
static void
give_up_to_the_limit(struct pm_heap *heap, size_t first)
{
    for (size_t pool = first; heap->keep.dirty < pm_keep_limit(&heap->keep, heap->pools); pool++)
        for (size_t i = 0; i < PER_POOL; i++)
            pm_heap_return(&(void *){blocks[pool * PER_POOL + i]}, 1, PM_FOUND_LATER);
}

/* Dirty pools up to the limit, some of which the class then reserves and does not use, and others in their place. */
static void *
exit_with_a_dirty_run(void *unused)
{
    (void)unused;
    struct pm_heap *heap = pm_process_heap();
    take(heap);
    give_up_to_the_limit(heap, 0);
    for (size_t before = heap->keep.dirty; heap->keep.dirty == before;)
        memset(pm_heap_take_one(heap, CLASS), 7, 512);
    REQUIRE(heap->classes[CLASS].run_count > 8, "a run of %u", heap->classes[CLASS].run_count);
    give_up_to_the_limit(heap, POOLS / 2);
    return heap;
}

/* At its exit a thread gives up its runs; also with those, no more than the limit stays with the parked heap. */
Test(purge, a_parked_heap_keeps_no_more_than_its_limit, .init = start)
{
    struct pm_heap *parked = run(exit_with_a_dirty_run);
    REQUIRE(parked->state == PM_HEAP_PARKED, "not parked");
    REQUIRE(parked->keep.dirty <= pm_keep_limit(&parked->keep, parked->pools), "%zu are kept, the limit is %zu",
            parked->keep.dirty, pm_keep_limit(&parked->keep, parked->pools));
}

/* ---- Arenas ---- */

Test(purge, free_arenas_go_as_well, .init = start)
{
    struct pm_region_counts counts;
    learn(own);
    give_rest();
    pm_region_counts(&counts);
    /* The region keeps one. */
    REQUIRE(counts.arenas == 0 && counts.arenas_dirty <= 1, "%zu, %zu", counts.arenas, counts.arenas_dirty);
    pm_options.purge = PM_PURGE_EAGER;
    test_now += PERIOD;
    pm_purge_tick(own);
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0 && resident() == 0, "%zu dirty, %zu pools", counts.arenas_dirty, resident());
}

/* ---- Magazines ---- */

Test(purge, a_thread_empties_its_magazines_once_a_period, .init = start)
{
    void *block = pm_magazine_refill(own, CLASS);
    struct pm_magazine *magazine = &own->magazines[CLASS];
    pm_magazine_push(magazine, block);
    unsigned count = pm_magazine_count(magazine);
    test_now += PERIOD - 1;
    pm_purge_tick(own);
    REQUIRE(count != 0 && pm_magazine_count(magazine) == count, "emptied within the period");
    test_now += 1;
    pm_purge_tick(own);
    REQUIRE(pm_magazine_count(magazine) == 0, "%u blocks are left", pm_magazine_count(magazine));
    REQUIRE(pm_pool_check(block) != PM_FAULT_NONE, "the block did not return to its pool");
    block = pm_magazine_refill(own, CLASS);
    count = pm_magazine_count(magazine);
    pm_purge_tick(own);
    REQUIRE(pm_magazine_count(magazine) == count, "emptied twice in a period");
}

static void *
look_at_the_clock(void *unused)
{
    (void)unused;
    test_now += PERIOD;
    pm_purge_tick(pm_process_heap());
    return NULL;
}

/* Who ends the period is another thread; this one empties its own magazines when it next comes by. */
Test(purge, each_thread_empties_its_own_magazines, .init = start)
{
    struct pm_magazine *magazine = &own->magazines[CLASS];
    pm_magazine_push(magazine, pm_magazine_refill(own, CLASS));
    unsigned count = pm_magazine_count(magazine);
    run(look_at_the_clock);
    REQUIRE(pm_magazine_count(magazine) == count, "another thread emptied the magazine");
    pm_purge_tick(own);
    REQUIRE(pm_magazine_count(magazine) == 0, "%u blocks are left", pm_magazine_count(magazine));
}

/* ---- Policies ---- */

Test(purge, eager_needs_no_period, .init = start)
{
    pm_options.purge = PM_PURGE_EAGER;
    for (int wave = 0; wave < 3; wave++) {
        take(own);
        give_most();
        REQUIRE(resident() == 0, "%zu in wave %d, whatever was needed again", resident(), wave);
        require_contents();
        give_rest();
    }
    require_lists(own);
}

Test(purge, never_means_only_when_asked, .init = start)
{
    pm_options.purge = PM_PURGE_NEVER;
    take(own);
    give_most();
    pm_magazine_push(&own->magazines[8], pm_magazine_refill(own, 8));
    for (int i = 0; i < 3; i++) {
        test_now += PERIOD;
        pm_purge_tick(own);
    }
    REQUIRE(resident() == FREED, "%zu", resident());
    REQUIRE(pm_magazine_count(&own->magazines[8]) != 0, "the magazines were emptied");
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
    REQUIRE(!pm_purge_now(), "purged twice");
    require_lists(own);
}

/* ---- Everything ---- */

/* Whatever was learned, the magazines first. */
Test(purge, now, .init = start)
{
    void *waiting = pm_magazine_refill(own, 8);
    pm_magazine_push(&own->magazines[8], pm_heap_take_one(own, 8));
    learn(own);
    REQUIRE(pm_magazine_count(&own->magazines[8]) != 0, "no blocks wait");
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
    REQUIRE(pm_magazine_count(&own->magazines[8]) == 0, "blocks wait in a magazine");
    REQUIRE(own->classes[8].pools == 1 && pm_pool_check(waiting) == PM_FAULT_NONE, "a block in use");
    REQUIRE(!pm_purge_now(), "purged twice");
    require_contents();
    require_lists(own);
}

/* In all heaps, and free arenas. */
Test(purge, now_of_all_heaps_and_the_region, .init = start)
{
    struct pm_region_counts counts;
    pm_options.purge = PM_PURGE_NEVER;
    struct pm_heap *parked = run(take_in_a_thread);
    give_most();
    REQUIRE(resident() == FREED && pm_purge_now() && resident() == 0, "%zu of a parked heap are left", resident());
    require_lists(parked);
    give_rest();
    pm_region_counts(&counts);
    REQUIRE(counts.arenas == 0 && counts.arenas_dirty > 1, "%zu, %zu", counts.arenas, counts.arenas_dirty);
    REQUIRE(pm_purge_now(), "nothing was given back");
    pm_region_counts(&counts);
    REQUIRE(counts.arenas_dirty == 0, "%zu are dirty", counts.arenas_dirty);
    REQUIRE(!pm_purge_now(), "purged twice");
}

/* Calls `function` in a forked child, which must not fail. */
static void
in_a_child(void (*function)(void))
{
    int status;
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        function();
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
}

static void
purge_in_the_child(void)
{
    REQUIRE(resident() == FREED, "%zu came with the fork", resident());
    test_now += PERIOD - 1;
    pm_purge_tick(own);
    REQUIRE(resident() == FREED, "%zu before the period is over", resident());
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left in the child", resident());
    require_contents();
    require_lists(own);
    take_most(own);
    give_most();
    require_lists(own);
    for (int period = 0; period < 2; period++) {
        test_now += 100 * PERIOD;
        pm_purge_tick(own);
    }
    REQUIRE(resident() <= BASE + POOLS / 4 / 64, "%zu are left in the child", resident());
}

/* A child has what its parent has learned, and gives its own memory back; the parent's is as it was. */
Test(purge, in_a_forked_child, .init = start)
{
    learn(own);
    in_a_child(purge_in_the_child);
    REQUIRE(resident() == FREED, "%zu are left in the parent", resident());
    require_contents();
    require_lists(own);
    REQUIRE(pm_purge_now() && resident() == 0, "%zu are left", resident());
}
