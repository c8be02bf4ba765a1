/* SPDX-License-Identifier: MIT */
#include "dump.h"

#include "os.h"

/* Arenas and threads that come between measuring and taking. */
#define MORE_ARENAS (2 * (size_t)PM_CHUNK_ARENAS)
#define MORE_HEAPS ((size_t)16)

struct pm_view *
pm_view_create(const struct pm_reader *reader, uintptr_t root, enum pm_snapshot_result *result)
{
    size_t arenas, heaps;
    enum pm_snapshot_result measured = pm_snapshot_measure(reader, root, &arenas, &heaps);
    if (result != NULL)
        *result = measured;
    if (measured != PM_SNAPSHOT_TAKEN)
        return NULL;
    arenas += MORE_ARENAS;
    heaps += MORE_HEAPS;
    size_t bytes = sizeof(struct pm_view) + arenas * sizeof(struct pm_arena_row) + heaps * sizeof(struct pm_heap_row);
    bytes = pm_round_up(bytes, pm_os_page_size());
    struct pm_view *view = pm_os_map(bytes);
    if (view == NULL)
        return NULL;
    view->mapped_bytes = bytes;
    view->snapshot.arena_rows = (struct pm_arena_row *)(view + 1);
    view->snapshot.arena_room = arenas;
    view->snapshot.heap_rows = (struct pm_heap_row *)(view->snapshot.arena_rows + arenas);
    view->snapshot.heap_room = heaps;
    return view;
}

void
pm_view_destroy(struct pm_view *view)
{
    pm_os_unmap(view, view->mapped_bytes);
}

enum pm_snapshot_result
pm_view_take(struct pm_view *view, const struct pm_reader *reader, uintptr_t root)
{
    enum pm_snapshot_result result = pm_snapshot_take(reader, root, &view->snapshot);
    view->account.known = false;
    view->system_known = false;
    pm_snapshot_sum(&view->snapshot, &view->sums);
    return result;
}

void
pm_view_account(struct pm_view *view, long pid, const struct pm_system_info *system)
{
    view->pid = pid;
    view->system_known = system != NULL;
    if (system != NULL)
        view->system = *system;
    pm_account_take(&view->account, &view->snapshot, pid, system);
}
