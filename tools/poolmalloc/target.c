/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "command.h"
#include "printable.h"

static void
forget_mappings(struct pm_target *target)
{
    for (size_t i = 0; i < target->mapping_count; i++)
        free(target->mappings[i].path);
    free(target->mappings);
    target->mappings = NULL;
    target->mapping_count = 0;
}

static bool
parse_mapping(char *line, struct pm_mapping *mapping)
{
    char permissions[5];
    int path = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%lx-%lx %4s %lx %*x:%*x %lu %n", &mapping->start, &mapping->end, permissions, &mapping->offset,
               &mapping->inode, &path) < 5)
        return false;
    mapping->readable = permissions[0] == 'r';
    mapping->writable = permissions[1] == 'w';
    mapping->code = permissions[2] == 'x';
    char *name = line + path;
    static const char mark[] = " (deleted)";
    size_t length = strlen(name);
    mapping->deleted = length > strlen(mark) && strcmp(name + length - strlen(mark), mark) == 0;
    if (mapping->deleted)
        name[length - strlen(mark)] = '\0';
    mapping->path = pm_command_format("%s", name);
    return true;
}

bool
pm_target_refresh(struct pm_target *target)
{
    if (target->core != NULL)
        return true;
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/maps", (int)target->pid);
    FILE *file = fopen(name, "re");
    if (file == NULL)
        return false;
    forget_mappings(target);
    char *line = NULL;
    size_t size = 0, capacity = 0;
    errno = 0;
    while (getline(&line, &size, file) > 0) {
        if (target->mapping_count == capacity) {
            capacity = capacity != 0 ? 2 * capacity : 64;
            target->mappings = pm_command_reallocate(target->mappings, capacity * sizeof *target->mappings);
        }
        if (parse_mapping(line, &target->mappings[target->mapping_count]))
            target->mapping_count++;
    }
    free(line);
    int problem = errno;
    fclose(file);
    errno = problem;
    return target->mapping_count > 0;
}

static char
process_state(pid_t pid)
{
    char name[64], line[512], state = '\0';
    snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(name, "re");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) != NULL && strrchr(line, ')') != NULL)
            sscanf(strrchr(line, ')') + 1, " %c", &state);
        fclose(file);
    }
    return state;
}

bool
pm_target_has_ended(const struct pm_target *target)
{
    if (target->core != NULL)
        return false;
    char state = process_state(target->pid);
    return state == 'Z' || state == 'X' || (kill(target->pid, 0) != 0 && errno == ESRCH);
}

/* A byte of its memory: the kernel allows that to the same user, and for programs that may be dumped. */
static void
check_permission(const struct pm_target *target)
{
    char byte;
    for (size_t i = 0; i < target->mapping_count; i++) {
        const struct pm_mapping *mapping = &target->mappings[i];
        if (!mapping->readable || mapping->path[0] == '[')
            continue;
        struct iovec to = {&byte, 1}, from = {(void *)mapping->start, 1};
        if (process_vm_readv(target->pid, &to, 1, &from, 1, 0) != 1 && errno == EPERM)
            pm_command_fail(PM_STATUS_NO_PERMISSION, "no permission to read the memory of process %d%s",
                            (int)target->pid, geteuid() != 0 ? " (try as root)" : "");
        return;
    }
}

/* Ends the command when the mappings of a process that is there could not be read, for the reason `problem`. */
static _Noreturn void
fail_to_open(const struct pm_target *target, int problem)
{
    int pid = (int)target->pid;
    struct statfs proc;
    char link[64] = "";
    if (pm_target_has_ended(target))
        pm_command_fail(PM_STATUS_NO_PROCESS, "process %d has ended", pid);
    if (statfs("/proc", &proc) != 0 || proc.f_type != PROC_SUPER_MAGIC)
        pm_command_fail(PM_STATUS_NO_PERMISSION, "cannot look into process %d: /proc is not mounted here", pid);
    if (readlink("/proc/self", link, sizeof link - 1) <= 0 || atoi(link) != getpid())
        pm_command_fail(PM_STATUS_NO_PERMISSION,
                        "cannot look into process %d: /proc shows the processes of another PID namespace", pid);
    if (problem == ENOENT)
        pm_command_fail(PM_STATUS_NO_PERMISSION, "no permission to look into process %d: /proc hides it (hidepid)",
                        pid);
    if (problem == EACCES || problem == EPERM)
        pm_command_fail(PM_STATUS_NO_PERMISSION, "no permission to look into process %d%s", pid,
                        geteuid() != 0 ? " (try as root)" : "");
    if (problem != 0)
        pm_command_fail(PM_STATUS_NO_PERMISSION, "cannot look into process %d: %s", pid, strerror(problem));
    pm_command_fail(PM_STATUS_NOT_POOLMALLOC, "process %d is a thread of the kernel, it has no heap", pid);
}

/* What ps(1) shows: a program that is reached by several names has the one that it was started with. */
static char *
command_name(pid_t pid)
{
    char path[64], name[64] = "?";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file != NULL && fgets(name, sizeof name, file) != NULL)
        name[strcspn(name, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
    pm_printable_make(name);
    return pm_command_format("%s", name);
}

void
pm_target_open_process(struct pm_target *target, const char *pid)
{
    memset(target, 0, sizeof *target);
    target->pid = (pid_t)pm_command_number("PID", pid, 1, INT_MAX);
    if (kill(target->pid, 0) != 0 && errno == ESRCH)
        pm_command_fail(PM_STATUS_NO_PROCESS, "there is no process %d", (int)target->pid);
    if (!pm_target_refresh(target))
        fail_to_open(target, errno);
    check_permission(target);
    char link[64];
    target->name = command_name(target->pid);
    snprintf(link, sizeof link, "/proc/%d/exe", (int)target->pid);
    target->executable = pm_command_format("%s", link);
}

void
pm_target_close(struct pm_target *target)
{
    forget_mappings(target);
    if (target->core != NULL)
        pm_core_close(target->core);
    free((char *)target->name);
    free(target->executable);
}

bool
pm_target_read(const struct pm_target *target, uint64_t address, void *buffer, size_t size)
{
    if (target->core != NULL)
        return pm_core_read(target->core, target, address, buffer, size);
    struct iovec to = {buffer, size}, from = {(void *)address, size};
    return process_vm_readv(target->pid, &to, 1, &from, 1, 0) == (ssize_t)size;
}

bool
pm_target_read_string(const struct pm_target *target, uint64_t address, char *buffer, size_t size)
{
    for (size_t i = 0; i + 1 < size; i++) {
        if (!pm_target_read(target, address + i, &buffer[i], 1))
            return false;
        if (buffer[i] == '\0')
            return true;
    }
    buffer[size - 1] = '\0';
    return true;
}

const struct pm_mapping *
pm_target_mapping(const struct pm_target *target, uint64_t address)
{
    for (size_t i = 0; i < target->mapping_count; i++)
        if (address >= target->mappings[i].start && address < target->mappings[i].end)
            return &target->mappings[i];
    return NULL;
}

bool
pm_target_is_loaded(const struct pm_target *target, const struct pm_mapping *mapping)
{
    const struct pm_mapping *end = target->mappings + target->mapping_count;
    for (const struct pm_mapping *next = mapping; next < end && next->inode == mapping->inode; next++) {
        if (next > mapping && next->offset == 0)
            break;
        if (next->code)
            return true;
    }
    return false;
}

void
pm_target_file(const struct pm_target *target, const struct pm_mapping *mapping, char *path, size_t size)
{
    if (target->core != NULL) {
        snprintf(path, size, "%s", mapping->path);
        return;
    }
    snprintf(path, size, "/proc/%d/map_files/%lx-%lx", (int)target->pid, mapping->start, mapping->end);
    if (access(path, R_OK) != 0)
        snprintf(path, size, "/proc/%d/root%s", (int)target->pid, mapping->path);
}

uint64_t
pm_target_auxiliary(const struct pm_target *target, uint64_t type)
{
    if (target->core != NULL)
        return pm_core_auxiliary(target->core, type);
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/auxv", (int)target->pid);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    uint64_t entry[2], value = 0;
    while (file >= 0 && read(file, entry, sizeof entry) == (ssize_t)sizeof entry && entry[0] != 0)
        if (entry[0] == type)
            value = entry[1];
    if (file >= 0)
        close(file);
    return value;
}
