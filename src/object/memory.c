/* SPDX-License-Identifier: MIT
 *
 * Memory for the library's own tables, in whole pages, and the clock. Tables never come from malloc, so that a program
 * whose malloc fails or is replaced sees no difference.
 */
#include <time.h>

#include "../geometry.h"
#include "../os.h"
#include "object.h"

#include <string.h>

int po_memory_budget = -1;

bool
po_memory_allowed(void)
{
    if (PM_LIKELY(po_memory_budget < 0))
        return true;
    if (po_memory_budget == 0)
        return false;
    po_memory_budget--;
    return true;
}

void *
po_map(size_t bytes)
{
    if (!po_memory_allowed())
        return NULL;
    return pm_os_map(pm_round_up(bytes, pm_os_page_size()));
}

void
po_unmap(void *memory, size_t bytes)
{
    if (memory != NULL)
        pm_os_unmap(memory, pm_round_up(bytes, pm_os_page_size()));
}

bool
po_array_reserve(struct po_array *array, size_t capacity)
{
    if (capacity <= array->capacity)
        return true;
    if (capacity < 2 * array->capacity)
        capacity = 2 * array->capacity;
    size_t bytes = pm_round_up(capacity * sizeof(void *), pm_os_page_size());
    size_t old_bytes = array->capacity * sizeof(void *);
    void **items;
    if (!po_memory_allowed())
        return false;
    items = old_bytes != 0 ? pm_os_remap(array->items, old_bytes, bytes) : pm_os_map(bytes);
    if (items == NULL)
        return false;
    array->items = items;
    array->capacity = bytes / sizeof(void *);
    return true;
}

void
po_array_free(struct po_array *array)
{
    po_unmap(array->items, array->capacity * sizeof(void *));
    *array = (struct po_array){0};
}

uint64_t
po_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
