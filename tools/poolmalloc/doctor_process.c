/* SPDX-License-Identifier: MIT
 *
 * poolmalloc doctor PID: is the library in the process, does it come first, and if not, where the variable was lost.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "doctor.h"
#include "elf_file.h"
#include "target.h"

/* A variable of the environment that a process was started with; NULL when it is not there. The caller frees it. */
static char *
variable_of(pid_t pid, const char *variable)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/environ", (int)pid);
    FILE *file = fopen(name, "re");
    char *entry = NULL, *value = NULL;
    size_t size = 0, length = strlen(variable);
    while (file != NULL && value == NULL && getdelim(&entry, &size, '\0', file) > 0)
        if (strncmp(entry, variable, length) == 0 && entry[length] == '=')
            value = pm_command_format("%s", entry + length + 1);
    if (file != NULL)
        fclose(file);
    free(entry);
    return value;
}

static pid_t
parent_of(pid_t pid, char *command, size_t size)
{
    char name[64], line[512];
    int parent = 0;
    snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(name, "re");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) != NULL && strchr(line, '(') != NULL && strrchr(line, ')') != NULL) {
        char *open = strchr(line, '('), *close = strrchr(line, ')');
        snprintf(command, size, "%.*s", (int)(close - open - 1), open + 1);
        sscanf(close + 1, " %*c %d", &parent);
    }
    fclose(file);
    return parent;
}

/* An ancestor whose environment names the library: something between it and the process dropped the variable. */
static bool
find_dropper(pid_t pid)
{
    char below[64], name[64];
    pid_t ancestor = parent_of(pid, below, sizeof below);
    pid_t child = pid;
    while (ancestor > 1) {
        char *preload = variable_of(ancestor, "LD_PRELOAD");
        pid_t next = parent_of(ancestor, name, sizeof name);
        if (preload != NULL && strstr(preload, "poolmalloc") != NULL) {
            printf(
                "  why not      LD_PRELOAD names poolmalloc in process %d (%s), but no longer in its child %d (%s):\n"
                "               a wrapper has dropped the variable (sudo, env -i, su -, a service manager, ...)\n",
                (int)ancestor, name, (int)child, below);
            free(preload);
            return true;
        }
        free(preload);
        strcpy(below, name);
        child = ancestor;
        ancestor = next;
    }
    return false;
}

static void
add_object(const struct pm_target *target, uint64_t start, const char *name, void *data)
{
    const struct pm_mapping *mapping = pm_target_mapping(target, start);
    if (mapping == NULL || mapping->path[0] != '/')
        return;
    char path[PATH_MAX + 64];
    if (name[0] == '\0')
        snprintf(path, sizeof path, "%s", target->executable);
    else
        pm_target_file(target, mapping, path, sizeof path);
    char *shown = pm_command_format("%s%s", mapping->path, mapping->deleted ? " (deleted since)" : "");
    pm_objects_add(data, shown, path);
    free(shown);
}

static bool
is_found(const struct pm_target *target, uint64_t address, const struct pm_mapping *mapping, void *data)
{
    (void)target;
    (void)address;
    *(const struct pm_mapping **)data = mapping;
    return true;
}

static void
explain_preload(const struct pm_target *target, const char *preload, const struct pm_mapping *library,
                const char *first)
{
    if (library != NULL) {
        printf("  why not      the library is loaded, but malloc is served by %s, which comes before it%s\n",
               first != NULL ? first : "nobody",
               preload == NULL || strstr(preload, "poolmalloc") == NULL ? "; it was opened late, not preloaded" : "");
    } else if (preload == NULL || strstr(preload, "poolmalloc") == NULL) {
        if (!find_dropper(target->pid))
            printf("  why not      it was started without the library: LD_PRELOAD %s%s\n",
                   preload == NULL ? "is not in its environment" : "holds only ", preload != NULL ? preload : "");
    } else {
        printf("  why not      LD_PRELOAD is %s, but the dynamic linker did not load it: is the file there, as seen\n"
               "               from the process, and built for the same libc?\n", preload);
    }
}

static void
explain(const struct pm_target *target, const struct pm_mapping *library, const char *first)
{
    struct pm_elf elf;
    char *preload = variable_of(target->pid, "LD_PRELOAD");
    bool readable = pm_elf_open(&elf, target->executable);
    if (readable && pm_elf_is_static_program(&elf)) {
        const char *allocator = pm_elf_known_allocator(&elf);
        printf("  why not      it is statically linked, so no dynamic linker loads anything into it%s%s\n",
               allocator != NULL ? "; it has its own allocator, " : "", allocator != NULL ? allocator : "");
    } else if (pm_target_auxiliary(target, AT_SECURE) != 0) {
        puts("  why not      it was started with more rights than its user has (setuid, setgid or capabilities), so "
             "the\n"
             "               dynamic linker ignored LD_PRELOAD");
    } else if (readable && pm_elf_defines(&elf, "malloc", true, NULL)) {
        const char *allocator = pm_elf_known_allocator(&elf);
        printf("  why not      the program defines malloc itself%s%s%s, and a program's own definitions come first\n",
               allocator != NULL ? " (" : "", allocator != NULL ? allocator : "", allocator != NULL ? ")" : "");
    } else {
        explain_preload(target, preload, library, first);
    }
    if (readable)
        pm_elf_close(&elf);
    free(preload);
}

int
pm_doctor_process(const char *pid)
{
    struct pm_target target;
    pm_target_open_process(&target, pid);
    struct pm_objects objects = {0};
    pm_target_each_object(&target, add_object, &objects);
    const struct pm_mapping *library = NULL;
    const char *first = NULL;
    pm_target_find_symbol(&target, "pm_malloc", is_found, &library);
    bool active = objects.count > 0 ? pm_objects_are_poolmalloc(&objects, &first) : library != NULL;
    printf("%s (process %d): poolmalloc is %s\n\n", target.name, (int)target.pid, active ? "active" : "not active");
    if (!active)
        explain(&target, library, first);
    if (library != NULL)
        printf("  %s      %s%s\n", strstr(library->path, ".so") != NULL ? "library" : "inside ", library->path,
               library->deleted ? " (deleted since)" : "");
    pm_objects_print(&objects);
    pm_objects_free(&objects);
    char *variable = variable_of(target.pid, "PYTHONMALLOC");
    pm_doctor_hint_python(target.name, variable, active);
    free(variable);
    pm_limits_print(target.pid);
    pm_target_close(&target);
    return active ? PM_STATUS_OK : PM_STATUS_INACTIVE;
}
