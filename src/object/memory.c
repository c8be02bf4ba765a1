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

/* Large tables are read at random: with huge pages the addresses cost less. */
static bool
is_huge(size_t bytes)
{
    return bytes >= 2 * PM_REGION_ALIGNMENT;
}

void *
po_map_large(size_t bytes)
{
    if (!is_huge(bytes))
        return po_map(bytes);
    bytes = pm_round_up(bytes, pm_os_page_size());
    void *memory = po_memory_allowed() ? pm_os_reserve(bytes, PM_REGION_ALIGNMENT) : NULL;
    if (memory == NULL)
        return NULL;
    if (!pm_os_commit(memory, bytes)) {
        pm_os_unmap(memory, bytes);
        return NULL;
    }
    pm_os_use_huge_pages(memory, bytes, true);
    return memory;
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
