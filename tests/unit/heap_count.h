/* SPDX-License-Identifier: MIT
 *
 * How many heaps a process has. Not in unit.c: it would bring the library's start into tests that must not have it.
 */
#ifndef HEAP_COUNT_H
#define HEAP_COUNT_H

#include "process.h"

static inline size_t
heap_count(void)
{
    size_t count = 0;
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        count++;
    return count;
}

#endif
