/* SPDX-License-Identifier: MIT */
#include "purge.h"

#include "options.h"
#include "os.h"
#include "process.h"
#include "region.h"

/* Milliseconds. */
#define PERIOD 100u

/* When the current period began; 0 until the first one. */
static _Atomic uint64_t period_start;

static void
age_all(uint64_t now)
{
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_age(heap, now);
    pm_region_age(now);
}

void
pm_purge_tick(struct pm_heap *heap)
{
    if (pm_options.purge == PM_PURGE_NEVER)
        return;
    /* In this order: the clock is never behind the start of a period that is seen. */
    uint64_t start = atomic_load_explicit(&period_start, memory_order_acquire);
    uint64_t now = pm_os_milliseconds();
    if (PM_UNLIKELY(now - start >= PERIOD) && atomic_compare_exchange_strong(&period_start, &start, now)) {
        age_all(now);
        start = now;
    }
    if (PM_UNLIKELY(heap->flushed_at != start)) {
        heap->flushed_at = start;
        pm_magazine_flush_all(heap);
    }
}

bool
pm_purge_now(void)
{
    bool purged = false;
    if (pm_process_start())
        pm_magazine_flush_all(pm_heap_current);
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        purged |= pm_heap_purge(heap);
    return pm_region_purge() || purged;
}
