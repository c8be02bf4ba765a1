/* SPDX-License-Identifier: MIT
 *
 * The dump: a snapshot and its account as text for people and as JSON for programs, of this process or another. Both
 * say the same. Nothing is allocated but one mapping for the rows. Layer 4: uses snapshot.h, account.h, reader.h,
 * text.h.
 */
#ifndef PM_DUMP_H
#define PM_DUMP_H

#include "account.h"
#include "reader.h"
#include "snapshot.h"
#include "text.h"

/* Of the JSON: grows when a member changes its meaning or goes. New members may come without it. */
#define PM_DUMP_SCHEMA 1

struct pm_view {
    size_t mapped_bytes; /* of the view, with its rows */
    long pid;
    bool system_known;
    struct pm_system_info system; /* what the system allocator says of itself */
    struct pm_account account;
    struct pm_sums sums;
    struct pm_snapshot snapshot;
};

/* A mapping with room for what the reader's process has now and some more; NULL, with `result` set if it is not NULL,
 * when the root cannot be read or there is no memory (then it is PM_SNAPSHOT_TAKEN). */
struct pm_view *pm_view_create(const struct pm_reader *reader, uintptr_t root, enum pm_snapshot_result *result);
void pm_view_destroy(struct pm_view *view);

/* Takes the snapshot and its sums. A view can be taken again; when it is incomplete, a new one has more room. */
enum pm_snapshot_result pm_view_take(struct pm_view *view, const struct pm_reader *reader, uintptr_t root);

/* The account of the snapshot taken last. `system` may be NULL. */
void pm_view_account(struct pm_view *view, long pid, const struct pm_system_info *system);

void pm_dump_text(struct pm_text *text, const struct pm_view *view);
void pm_dump_json(struct pm_text *text, const struct pm_view *view);

#endif
