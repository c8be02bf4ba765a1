/* SPDX-License-Identifier: MIT */
#include "magazine.h"

#include <string.h>

#include "heap.h"
#include "options.h"
#include "system.h"

/* ---- Size ---- */

/* Little has passed through the magazine, and the thread is not the main thread. */
static bool
is_light(const struct pm_heap *heap, unsigned number)
{
    return heap->magazines[number].moved < PM_MAGAZINE_LIGHT_MAX && heap != pm_heap_first();
}

static void
count_moved(struct pm_heap *heap, unsigned number, unsigned blocks)
{
    uint32_t *moved = &heap->magazines[number].moved;
    if (*moved < PM_MAGAZINE_MOVED_MAX)
        *moved += (uint32_t)(blocks * pm_magazine_block_size(number));
}

/* What has passed through the magazine allows it to grow to its full capacity, or to a part of it. */
static unsigned
earned_capacity(const struct pm_heap *heap, unsigned number)
{
    unsigned has = heap->magazines[number].capacity, earned = pm_magazine_capacity(number);
    uint32_t moved = heap->magazines[number].moved;
    if (heap == pm_heap_first())
        return earned;
    for (uint32_t needed = PM_MAGAZINE_MOVED_MAX; moved < needed && earned > has; needed /= 2)
        earned = needed > PM_MAGAZINE_LIGHT_MAX ? earned / 2 : has;
    return earned > has ? earned : has;
}

/* The capacity that a magazine gets when it has none, or when its own is too small, or when it has turned. */
static unsigned
next_capacity(const struct pm_heap *heap, unsigned number, bool turned)
{
    unsigned has = heap->magazines[number].capacity, full = pm_magazine_capacity(number);
    if (has == 0 && full > pm_magazine_first(number))
        return pm_magazine_first(number);
    if (has < full)
        return has != 0 ? earned_capacity(heap, number) : full;
    return turned && has < full << PM_MAGAZINE_DOUBLINGS ? 2 * has : has;
}

/* NULL when all are dealt out. They are NULL themselves. */
static void **
deal_slots(struct pm_heap *heap, unsigned count)
{
    unsigned *used = &heap->first_slots_used;
    void **slots = heap->first_slots;
    if (*used + count > PM_FIRST_SLOTS) {
        used = &heap->slots_used;
        slots = heap->slots;
        if (*used + count > heap->slots_count)
            return NULL;
    }
    slots += *used;
    *used += count;
    return slots;
}

/* No lock is held. */
static void
grow(struct pm_heap *heap, unsigned number, bool turned)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    unsigned capacity = next_capacity(heap, number, turned);
    unsigned count = pm_magazine_count(magazine);
    if (pm_options.check || capacity == magazine->capacity || !pm_lock_acquire_unless_forking(&heap->lock))
        return;
    void **slots = deal_slots(heap, capacity + 1);
    if (slots == NULL) {
        pm_lock_release(&heap->lock);
        return;
    }
    if (number >= heap->magazines_end)
        heap->magazines_end = number + 1;
    if (count != 0)
        memcpy(slots + 1, pm_magazine_base(magazine), count * sizeof(void *));
    magazine->limit = slots + 1 + capacity;
    magazine->capacity = (uint16_t)capacity;
    magazine->turned = false;
    pm_magazine_set_top(magazine, slots + 1 + count);
    pm_lock_release(&heap->lock);
}

/* ---- Refill ---- */

/* How many blocks to put on an empty magazine, which gets room for them. */
static unsigned
begin_refill(struct pm_heap *heap, unsigned number, bool light)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    if (magazine->batch > (magazine->capacity + 1u) / 2 || magazine->batch == 0 || magazine->turned)
        grow(heap, number, magazine->turned);
    magazine->turned = false;
    if (light) /* a cache line: its rest would be another thread's, to write to */
        return magazine->capacity != 0 ? pm_magazine_first(number) : 0;
    unsigned wanted = magazine->batch > PM_BATCH_MIN ? magazine->batch : PM_BATCH_MIN;
    /* At most half of it, so that the frees that follow find room. */
    unsigned half = (magazine->capacity + 1u) / 2;
    wanted = wanted < half ? wanted : half;
    magazine->batch = (uint8_t)(2 * wanted < PM_BATCH_MAX ? 2 * wanted : PM_BATCH_MAX);
    return wanted;
}

/* Puts blocks of `source` on an empty magazine; returns how many. None while a fork holds the lock. */
static unsigned
refill_from(struct pm_heap *source, struct pm_heap *heap, unsigned number, unsigned wanted)
{
    if (PM_UNLIKELY(!pm_lock_acquire_unless_forking(&source->lock)))
        return 0;
    void **base = pm_magazine_base(&heap->magazines[number]);
    unsigned taken = pm_heap_take(source, number, base + wanted, wanted);
    if (taken < wanted)
        memmove(base, base + wanted - taken, taken * sizeof(void *));
    pm_magazine_set_top(&heap->magazines[number], base + taken);
    pm_lock_release(&source->lock);
    return taken;
}

static void
refill(struct pm_heap *heap, unsigned number)
{
    bool light = is_light(heap, number);
    unsigned wanted = begin_refill(heap, number, light);
    unsigned taken = refill_from(light ? pm_heap_first() : heap, heap, number, wanted);
    /* No arena is left for the first heap, but the thread's own may have free pools. */
    if (PM_UNLIKELY(taken == 0) && light)
        taken = refill_from(heap, heap, number, wanted);
    count_moved(heap, number, taken);
}

void *
pm_magazine_refill(struct pm_heap *heap, unsigned class)
{
    struct pm_magazine *magazine = &heap->magazines[class];
    /* A heap taken over in a forked child comes with what its thread had at hand. */
    void *block = pm_magazine_pop(magazine);
    if (block != NULL)
        return block;
    if (pm_options.check)
        return pm_heap_take_one(heap, class);
    refill(heap, class);
    return pm_magazine_pop(magazine);
}

void
pm_magazine_missed(struct pm_heap *heap, unsigned number)
{
    grow(heap, number, true);
    heap->magazines[number].turned = false;
}

/* ---- Flush ---- */

/* The heap whose lock a flush takes: the one that the oldest block returns to. */
static struct pm_heap *
destination(struct pm_heap *heap, unsigned number)
{
    const struct pm_magazine *magazine = &heap->magazines[number];
    struct pm_heap *owner = NULL;
    if (number <= PM_CLASS_LAST && pm_magazine_count(magazine) != 0)
        owner = pm_heap_owner(*pm_magazine_base(magazine));
    return owner != NULL ? owner : heap;
}

/* The oldest `count` entries, at most a batch, leave the magazine and return to where they belong. False, with nothing
 * done, while a fork holds the lock. */
static bool
flush(struct pm_heap *heap, unsigned number, unsigned count)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    void **base = pm_magazine_base(magazine), *others[PM_BATCH_MAX];
    bool pooled = number <= PM_CLASS_LAST;
    enum pm_fault fault = PM_FAULT_NONE;
    struct pm_heap *owner = destination(heap, number);
    if (PM_UNLIKELY(!pm_lock_acquire_unless_forking(&owner->lock)))
        return false;
    count_moved(heap, number, count);
    unsigned left = pooled ? pm_heap_give(owner, base, count, &fault) : count;
    memcpy(others, base, left * sizeof(void *));
    memmove(base, base + count, (pm_magazine_count(magazine) - count) * sizeof(void *));
    pm_magazine_set_top(magazine, magazine->top - count);
    pm_lock_release(&owner->lock);
    if (PM_UNLIKELY(fault != PM_FAULT_NONE))
        pm_pool_report_fault("free", others[0], fault, PM_FOUND_LATER);
    if (pooled)
        pm_heap_return(others, left, PM_FOUND_LATER);
    for (unsigned i = 0; !pooled && i < left; i++)
        pm_system_free(others[i]);
    return true;
}

void
pm_magazine_flush(struct pm_heap *heap, unsigned number, void *block)
{
    struct pm_magazine *magazine = &heap->magazines[number];
    grow(heap, number, false);
    if (pm_magazine_push(magazine, block))
        return;
    unsigned half = (magazine->capacity + 1u) / 2;
    if (half != 0 && flush(heap, number, half < PM_BATCH_MAX ? half : PM_BATCH_MAX)) {
        magazine->turned = true;
        pm_magazine_push(magazine, block);
    } else if (number <= PM_CLASS_LAST) {
        pm_heap_return(&block, 1, PM_FOUND_AT_ONCE);
    } else {
        pm_system_free(block);
    }
}

bool
pm_magazine_flush_all(struct pm_heap *heap)
{
    bool flushed = false;
    for (unsigned number = 1; number < heap->magazines_end; number++) {
        struct pm_magazine *magazine = &heap->magazines[number];
        for (unsigned count; (count = pm_magazine_count(magazine)) != 0; flushed = true)
            if (!flush(heap, number, count < PM_BATCH_MAX ? count : PM_BATCH_MAX))
                return flushed;
        magazine->batch = 0;
        magazine->turned = false;
    }
    return flushed;
}

void
pm_magazine_mend_all(struct pm_heap *heap)
{
    for (unsigned number = 1; number < heap->magazines_end; number++) {
        struct pm_magazine *magazine = &heap->magazines[number];
        if (magazine->capacity != 0)
            pm_magazine_set_top(magazine, magazine->top);
    }
}
