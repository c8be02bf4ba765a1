/* SPDX-License-Identifier: MIT
 *
 * What the command looks into: a running process, or what a core file kept of one. Its mappings, its memory, the
 * objects that are loaded and their symbols. Nothing here stops or changes the process.
 *
 * Notes and symbols are looked up in the process's own memory: it makes no difference whether the file has been deleted
 * or replaced since, lies in another container, or is stripped.
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
    bool code; /* executable; never in a core */
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

/* Where a root of poolmalloc (root.h) is, by the notes in the object that it belongs to. Everything that looks for
 * poolmalloc in a target asks here. */
struct pm_root_place {
    uint64_t address;
    bool serves_malloc; /* the object has malloc and its relatives from poolmalloc, not its own functions alone */
    const struct pm_mapping *mapping; /* the first one of the object */
};

/* Calls `visit` with each place, in the order of addresses, until it says true, and returns whether it did. */
bool pm_target_each_root(const struct pm_target *target,
                         bool (*visit)(const struct pm_target *, const struct pm_root_place *, void *), void *data);

/* Does any object export the symbol? */
bool pm_target_has_symbol(const struct pm_target *target, const char *symbol);

/* The address of an exported symbol of the object whose first byte is at `start`, 0 when it has none. */
uint64_t pm_target_symbol(const struct pm_target *target, uint64_t start, const char *symbol);

/* What is to be added to the addresses in the file of the object whose first byte is at `start`. */
bool pm_target_bias(const struct pm_target *target, uint64_t start, uint64_t *bias);

/* Is the mapping of a file's start the first one of a loaded object, with code behind it? Not of a core. */
bool pm_target_is_loaded(const struct pm_target *target, const struct pm_mapping *mapping);

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
