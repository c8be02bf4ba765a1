/* SPDX-License-Identifier: MIT */
#include "purge.h"

#include "options.h"
#include "os.h"
#include "process.h"
#include "purge_thread.h"
#include "region.h"

/* When the current period began; 0 until the first one. */
static _Atomic uint64_t period_start;

bool
pm_purge_age(uint64_t now)
{
    bool unfinished = false;
    pm_heap_return_deferred();
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        unfinished |= pm_heap_age(heap, now);
    return pm_region_age(now) || unfinished;
}

void
pm_purge_tick(struct pm_heap *heap)
{
    if (pm_options.purge == PM_PURGE_NEVER)
        return;
    /* In this order: the clock is never behind the start of a period that is seen. */
    uint64_t start = atomic_load_explicit(&period_start, memory_order_acquire);
    uint64_t now = pm_os_milliseconds();
    if (PM_UNLIKELY(now - start >= PM_PURGE_PERIOD) && atomic_compare_exchange_strong(&period_start, &start, now)) {
        pm_purge_age(now);
        start = now;
        if (pm_options.purge_thread)
            pm_purge_thread_stir();
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
