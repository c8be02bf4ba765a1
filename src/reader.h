/* SPDX-License-Identifier: MIT
 *
 * The reader (snapshot.h) of a running process, this one or another: its memory by process_vm_readv, or by
 * /proc/PID/mem where that is forbidden; what is in memory by /proc/PID/pagemap. Safe in a signal handler. Layer 4:
 * uses snapshot.h and os.h.
 */
#ifndef PM_READER_H
#define PM_READER_H

#include "snapshot.h"

struct pm_process_reader {
    struct pm_reader reader; /* its context points to the whole */
    long pid;
    int memory;  /* -1: not needed */
    int pagemap; /* -1: not to be had */
};

/* The path of a file of a process in /proc; `name` is short. */
#define PM_PROC_PATH_SIZE 64
void pm_reader_proc_path(char path[PM_PROC_PATH_SIZE], long pid, const char *name);

/* Whether memory can be read shows with the first read. `residence`: also find out what is in memory. */
void pm_reader_open(struct pm_process_reader *process, long pid, bool residence);
void pm_reader_close(struct pm_process_reader *process);

#endif
