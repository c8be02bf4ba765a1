/* SPDX-License-Identifier: MIT
 *
 * What the command looks into: a running process, or what a core file kept of one. Its mappings, its memory, the
 * objects that are loaded and their symbols. Nothing here stops or changes the process.
 *
 * Symbols are looked up in the process's own memory, where the dynamic linker finds them too: it makes no difference
 * whether the file has been deleted or replaced since, or lies in another container. Only a static program has no such
 * table; its symbols come from the file, which /proc/PID/exe leads to even when it is deleted.
 */
#ifndef PM_TARGET_H
#define PM_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pm_mapping {
    uint64_t start, end, offset;
    uint64_t inode; /* 0: no file; always 0 in a core */
    bool readable, writable;
    char *path; /* as the kernel names it, without " (deleted)"; "" when it has none */
    bool deleted;
};

struct pm_core;

struct pm_target {
    pid_t pid;            /* of a core: the process that it was; 0 when the core does not say */
    struct pm_core *core; /* NULL for a process */
    const char *name;     /* of the program, for headings */
    char *executable;     /* path of the program, as seen from here where that is possible */
    struct pm_mapping *mappings;
    size_t mapping_count;
};

/* Both end the command with one line when it cannot be done. */
void pm_target_open_process(struct pm_target *target, const char *pid);
void pm_target_open_core(struct pm_target *target, const char *path);
void pm_target_close(struct pm_target *target);

/* The mappings as they are now; false when the process has ended. Nothing to do for a core. */
bool pm_target_refresh(struct pm_target *target);

bool pm_target_has_ended(const struct pm_target *target);

/* Copies memory of the target; all or nothing. */
bool pm_target_read(const struct pm_target *target, uint64_t address, void *buffer, size_t size);

/* The string at that address, cut to fit. */
bool pm_target_read_string(const struct pm_target *target, uint64_t address, char *buffer, size_t size);

const struct pm_mapping *pm_target_mapping(const struct pm_target *target, uint64_t address);

/* A path that opens the file behind a mapping from here: /proc/PID/map_files or /proc/PID/root/... */
void pm_target_file(const struct pm_target *target, const struct pm_mapping *mapping, char *path, size_t size);

/* An entry of the auxiliary vector, 0 when there is none. */
uint64_t pm_target_auxiliary(const struct pm_target *target, uint64_t type);

/* Calls `visit` with the address of `symbol` in each object that defines it, until it says true, and returns whether
 * one did. Objects come in the order of their addresses. */
bool pm_target_find_symbol(const struct pm_target *target, const char *symbol,
                           bool (*visit)(const struct pm_target *, uint64_t address, const struct pm_mapping *, void *),
                           void *data);

/* The address of an exported symbol of the object whose first byte is at `start`, 0 when it has none. */
uint64_t pm_target_symbol(const struct pm_target *target, uint64_t start, const char *symbol);

/* Calls `visit` with the first address and the name of each loaded object, in the order in which symbols are looked up.
 * False when the target has no list of them (a static program, or one that the dynamic linker has not started yet). */
bool pm_target_each_object(const struct pm_target *target,
                           void (*visit)(const struct pm_target *, uint64_t start, const char *name, void *),
                           void *data);

/* For target.c alone. */
bool pm_core_read(const struct pm_core *core, const struct pm_target *target, uint64_t address, void *buffer,
                  size_t size);
uint64_t pm_core_auxiliary(const struct pm_core *core, uint64_t type);
void pm_core_close(struct pm_core *core);

#endif
