/* SPDX-License-Identifier: MIT
 *
 * The account: a process's resident memory, as the kernel reports it, divided into what the heap knows of and the
 * rest. The parts are disjoint and their sum is the resident memory, by construction: the pools' parts are pages that
 * are in memory (the pagemap), the others are what the kernel says of each mapping, less what is the pools' of it.
 * Nothing is allocated; safe in a signal handler. Layer 4: uses snapshot.h, os.h, system.h.
 */
#ifndef PM_ACCOUNT_H
#define PM_ACCOUNT_H

#include "snapshot.h"
#include "system.h"

enum pm_part {
    PM_PART_LIVE,
    PM_PART_MAGAZINES,
    PM_PART_FREE_BLOCKS,
    PM_PART_REMAINDERS,
    PM_PART_FREE_POOLS,
    PM_PART_TABLES,
    PM_PART_SYSTEM_HEAP,
    PM_PART_SYSTEM_MAPPINGS,
    PM_PART_ANONYMOUS,
    PM_PART_STACK,
    PM_PART_FILES,
    PM_PARTS
};

struct pm_part_name {
    const char *key, *label;
    const char *meaning; /* half a line: what it is, and what would reduce it */
};

extern const struct pm_part_name pm_part_names[PM_PARTS];

/* The part's meaning; two of them mean something else when the system allocator was not asked what it holds. */
const char *pm_part_meaning(enum pm_part part, bool system_known);

struct pm_account {
    bool known;            /* false without /proc */
    size_t resident_bytes; /* what smaps reports, and the sum of the parts */
    size_t peak_bytes;     /* the most there ever was */
    size_t swapped_bytes;
    size_t parts[PM_PARTS];
};

/* `system`: what the system allocator says of itself, or NULL; then its mappings count as anonymous memory. */
void pm_account_take(struct pm_account *account, const struct pm_snapshot *snapshot, long pid,
                     const struct pm_system_info *system);

#endif
