/* SPDX-License-Identifier: MIT */
#include "purge.h"

#include "options.h"
#include "os.h"
#include "process.h"
#include "region.h"

/* Milliseconds, by policy. Programs that grow and shrink in waves of tens of milliseconds keep their pages with the
 * longer one (bench/README.md has the measurement). */
static const unsigned periods[] = {[PM_PURGE_EAGER] = 10, [PM_PURGE_BALANCED] = 100};

/* When the current period began; 0 until the first one. */
static _Atomic uint64_t period_start;

static bool
purge_all(bool aged_only)
{
    bool purged = false;
    for (struct pm_heap *heap = pm_process_first_heap(); heap != NULL; heap = heap->next)
        purged |= pm_heap_purge(heap, aged_only);
    return pm_region_purge(aged_only) || purged;
}

void
pm_purge_tick(struct pm_heap *heap)
{
    if (pm_options.purge == PM_PURGE_NEVER)
        return;
    /* In this order: the clock is never behind the start of a period that is seen. */
    uint64_t start = atomic_load_explicit(&period_start, memory_order_acquire);
    uint64_t now = pm_os_milliseconds();
    if (PM_UNLIKELY(now - start >= periods[pm_options.purge]) &&
        atomic_compare_exchange_strong(&period_start, &start, now)) {
        purge_all(true);
        start = now;
    }
    if (PM_UNLIKELY(heap->flushed_at != start)) {
        heap->flushed_at = start;
        pm_heap_flush_all(heap);
    }
}

bool
pm_purge_now(void)
{
    struct pm_heap *own = pm_process_heap();
    if (own != NULL)
        pm_heap_flush_all(own);
    return purge_all(false);
}
