/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "source.h"

#include <stdlib.h>
#include <string.h>

#include "command.h"

/* Arenas and threads that come between measuring and reading. */
#define MORE_ARENAS 128
#define MORE_HEAPS 16

static bool
read_target(void *context, uintptr_t address, void *buffer, size_t size)
{
    return pm_target_read(context, address, buffer, size);
}

struct pm_reader
pm_source_reader(const struct pm_target *target)
{
    return (struct pm_reader){.read = read_target, .context = (void *)target};
}

struct search {
    struct pm_source *source;
    char version[16]; /* of a root that cannot be read */
};

static bool
try_root(const struct pm_target *target, const struct pm_root_place *place, void *data)
{
    struct search *search = data;
    struct pm_root root;
    (void)target;
    enum pm_snapshot_result result = pm_snapshot_root(&search->source->reader, place->address, &root);
    if (result == PM_SNAPSHOT_OTHER)
        memcpy(search->version, root.version, sizeof search->version);
    if (result != PM_SNAPSHOT_TAKEN)
        return false;
    search->source->root = place->address;
    return true;
}

static void
find_root(struct pm_source *source, const char *what)
{
    struct search search = {.source = source};
    source->reader = pm_source_reader(&source->target);
    if (pm_target_each_root(&source->target, try_root, &search))
        return;
    if (pm_target_has_ended(&source->target))
        pm_command_fail(PM_STATUS_NO_PROCESS, "%s has ended", what);
    if (search.version[0] != '\0')
        pm_command_fail(PM_STATUS_OTHER_VERSION, "%s runs on poolmalloc %s, whose heap this command cannot read", what,
                        search.version);
    if (pm_target_has_symbol(&source->target, "pm_malloc"))
        pm_command_fail(PM_STATUS_OTHER_VERSION,
                        "%s runs on a version of poolmalloc without a root to read its heap from", what);
    pm_command_fail(PM_STATUS_NOT_POOLMALLOC, "%s does not run on poolmalloc%s", what,
                    source->target.core == NULL ? "; poolmalloc doctor says why" : "");
}

void
pm_source_open_process(struct pm_source *source, const char *pid)
{
    memset(source, 0, sizeof *source);
    pm_target_open_process(&source->target, pid);
    char *what = pm_command_format("process %d (%s)", (int)source->target.pid, source->target.name);
    find_root(source, what);
    free(what);
}

void
pm_source_open_core(struct pm_source *source, const char *path)
{
    memset(source, 0, sizeof *source);
    pm_target_open_core(&source->target, path);
    find_root(source, path);
}

void
pm_source_fail(const struct pm_source *source)
{
    if (source->target.core != NULL)
        pm_command_fail(PM_STATUS_BAD_CORE, "the core lacks memory that the heap lies in");
    if (pm_target_has_ended(&source->target))
        pm_command_fail(PM_STATUS_NO_PROCESS, "process %d has ended", (int)source->target.pid);
    pm_command_fail(PM_STATUS_NOT_POOLMALLOC,
                    "process %d no longer runs on poolmalloc: it has executed another program",
                    (int)source->target.pid);
}

void
pm_source_close(struct pm_source *source)
{
    pm_target_close(&source->target);
}

struct pm_snapshot *
pm_source_snapshot(struct pm_source *source)
{
    size_t arenas, heaps;
    enum pm_snapshot_result result = pm_snapshot_measure(&source->reader, source->root, &arenas, &heaps);
    if (result != PM_SNAPSHOT_TAKEN)
        pm_source_fail(source);
    struct pm_snapshot *snapshot = aligned_alloc(PM_CACHE_LINE, pm_round_up(sizeof *snapshot, PM_CACHE_LINE));
    if (snapshot == NULL)
        abort();
    memset(snapshot, 0, sizeof *snapshot);
    snapshot->arena_room = arenas + MORE_ARENAS;
    snapshot->heap_room = heaps + MORE_HEAPS;
    snapshot->arena_rows = pm_command_allocate(snapshot->arena_room * sizeof *snapshot->arena_rows);
    snapshot->heap_rows = pm_command_allocate(snapshot->heap_room * sizeof *snapshot->heap_rows);
    result = pm_snapshot_take(&source->reader, source->root, snapshot);
    if (result != PM_SNAPSHOT_TAKEN)
        pm_source_fail(source);
    return snapshot;
}

void
pm_source_free(struct pm_snapshot *snapshot)
{
    free(snapshot->arena_rows);
    free(snapshot->heap_rows);
    free(snapshot);
}
