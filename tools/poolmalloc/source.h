/* SPDX-License-Identifier: MIT
 *
 * A heap to look at: a target with poolmalloc in it, the address of its root, and the reader of its memory
 * (snapshot.h).
 *
 * The process is not stopped. A snapshot is taken while it runs: arenas are found through the region's maps, each once,
 * and free blocks are counted in descriptors that were copied whole, so that each row adds up whatever the process did
 * meanwhile. Rows of different moments may differ by what moved between them.
 */
#ifndef PM_SOURCE_H
#define PM_SOURCE_H

#include "snapshot.h"
#include "target.h"

struct pm_source {
    struct pm_target target;
    struct pm_reader reader;
    uintptr_t root;
};

/* Reads memory of the target. */
struct pm_reader pm_source_reader(const struct pm_target *target);

/* All three end the command with one line when there is nothing to look at. */
void pm_source_open_process(struct pm_source *source, const char *pid);
void pm_source_open_core(struct pm_source *source, const char *path);
/* For when a snapshot fails although the root was good: the process has ended, the core lacks memory. */
_Noreturn void pm_source_fail(const struct pm_source *source);

void pm_source_close(struct pm_source *source);

/* A snapshot with as many rows as the heap needs now. The caller frees it with pm_source_free. */
struct pm_snapshot *pm_source_snapshot(struct pm_source *source);
void pm_source_free(struct pm_snapshot *snapshot);

#endif
