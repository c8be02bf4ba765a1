/* SPDX-License-Identifier: MIT */
#include "root.h"

#include "compiler.h"
#include "note.h"
#include "poolmalloc.h"
#include "process.h"

struct pm_requests pm_requests[PM_CLASS_LAST + 1];

/* Constant, so that it is right before the library's first instruction, and in a core of any moment. */
static const struct pm_root root = {
    .magic = PM_ROOT_MAGIC,
    .layout = PM_ROOT_LAYOUT,
    .root_bytes = sizeof(struct pm_root),
    .fingerprint = PM_ROOT_FINGERPRINT,
    .version = PM_VERSION_STRING,
    .pool_shift = PM_POOL_SHIFT,
    .arena_shift = PM_ARENA_SHIFT,
    .chunk_shift = PM_CHUNK_SHIFT,
    .class_count = PM_CLASS_LAST,
    .region = &pm_region,
    .books = &pm_region_books,
    .heaps = &pm_process_heaps,
    .options = &pm_options,
    .requests = pm_requests,
};

extern PM_EXPORT const struct pm_root pm_root __attribute__((alias("root")));

/* Never called: it is there for the note in it. */
static void __attribute__((used))
note(void)
{
    PM_NOTE_OF_OBJECT(PM_NOTE_ROOT, root);
}
