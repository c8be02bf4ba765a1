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
#include "printable.h"
#include "source.h"
#include "target.h"

#define ROOTS_MAX 8

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
                (int)ancestor, pm_printable(name), (int)child, pm_printable(below));
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

struct findings {
    struct pm_objects objects;
    struct pm_root_place roots[ROOTS_MAX];
    size_t root_count;
    const struct pm_object *first; /* the one that serves malloc */
};

static bool
note_root(const struct pm_target *target, const struct pm_root_place *place, void *data)
{
    struct findings *found = data;
    (void)target;
    if (found->root_count < ROOTS_MAX)
        found->roots[found->root_count++] = *place;
    return false;
}

static bool
serves_from(const struct findings *found, const struct pm_mapping *mapping)
{
    for (size_t i = 0; i < found->root_count; i++)
        if (found->roots[i].serves_malloc && (mapping == NULL || found->roots[i].mapping == mapping))
            return true;
    return false;
}

static void
add_object(const struct pm_target *target, uint64_t start, const char *name, void *data)
{
    struct findings *found = data;
    const struct pm_mapping *mapping = pm_target_mapping(target, start);
    if (mapping == NULL || mapping->path[0] != '/')
        return;
    char path[PATH_MAX + 64];
    if (name[0] == '\0')
        snprintf(path, sizeof path, "%s", target->executable);
    else
        pm_target_file(target, mapping, path, sizeof path);
    char *shown = pm_command_format("%s%s", mapping->path, mapping->deleted ? " (deleted since)" : "");
    struct pm_object *object = pm_objects_add(&found->objects, shown, path);
    object->target = target;
    object->start = start;
    object->poolmalloc = serves_from(found, mapping);
    free(shown);
}

/* Is poolmalloc active? Where no dynamic linker looks for a malloc the notes of the program say it. */
static bool
examine(struct pm_target *target, struct findings *found)
{
    pm_target_each_root(target, note_root, found);
    pm_target_each_object(target, add_object, found);
    found->first = pm_objects_server(&found->objects, "malloc", NULL);
    return found->first != NULL ? found->first->poolmalloc : serves_from(found, NULL);
}

static void
explain_preload(const struct pm_target *target, const char *preload, const struct findings *found)
{
    bool named = preload != NULL && strstr(preload, "poolmalloc") != NULL;
    if (serves_from(found, NULL)) {
        printf("  why not      the library is loaded, but malloc is served by %s, which comes before it%s\n",
               found->first != NULL ? found->first->name : "nobody",
               !named ? "; it was opened late, not preloaded" : "");
    } else if (!named) {
        if (!find_dropper(target->pid))
            printf("  why not      it was started without the library: LD_PRELOAD %s%s\n",
                   preload == NULL ? "is not in its environment" : "holds only ",
                   preload != NULL ? pm_printable(preload) : "");
    } else {
        printf("  why not      LD_PRELOAD is %s, but the dynamic linker did not load it: is the file there, as seen\n"
               "               from the process, and built for the same libc?\n", pm_printable(preload));
    }
}

static void
explain(const struct pm_target *target, const struct findings *found)
{
    struct pm_elf elf;
    char *preload = variable_of(target->pid, "LD_PRELOAD");
    bool readable = pm_elf_open(&elf, target->executable);
    const char *sanitizer = pm_objects_sanitizer(&found->objects);
    const char *allocator = readable ? pm_elf_known_allocator(&elf) : NULL;
    if (readable && pm_elf_is_static_program(&elf))
        printf("  why not      it is statically linked, so no dynamic linker loads anything into it%s%s\n",
               allocator != NULL ? "; it has its own allocator, " : "", allocator != NULL ? allocator : "");
    else if (pm_target_auxiliary(target, AT_SECURE) != 0)
        puts("  why not      it was started with more rights than its user has (setuid, setgid or capabilities), so "
             "the\n"
             "               dynamic linker ignored LD_PRELOAD");
    else if (sanitizer != NULL)
        printf("  why not      it runs with %s, which needs a malloc of its own\n", sanitizer);
    else if (readable && pm_elf_exports(&elf, "malloc"))
        printf("  why not      the program defines malloc itself%s%s%s, and a program's own definitions come first\n",
               allocator != NULL ? " (" : "", allocator != NULL ? allocator : "", allocator != NULL ? ")" : "");
    else if (readable && pm_elf_is_poolmalloc(&elf))
        printf("  why not      poolmalloc is linked into it, but hidden (a version script, --exclude-libs): its\n"
               "               libraries do not see that malloc, and use that of %s\n",
               found->first != NULL ? found->first->name : "nobody");
    else
        explain_preload(target, preload, found);
    if (readable)
        pm_elf_close(&elf);
    free(preload);
}

static void
print_roots(const struct findings *found)
{
    for (size_t i = 0; i < found->root_count; i++) {
        const struct pm_mapping *mapping = found->roots[i].mapping;
        printf("  %s      %s%s%s\n", strstr(mapping->path, ".so") != NULL ? "library" : "inside ",
               pm_printable(mapping->path), mapping->deleted ? " (deleted since)" : "",
               found->roots[i].serves_malloc ? "" : " (with its own functions alone, pm_malloc and so on)");
    }
}

/* With the region and the options of the heap that serves malloc, where this command can read it. */
static struct pm_limits
limits_of(const struct pm_target *target, const struct findings *found)
{
    struct pm_limits limits = {.pid = target->pid};
    struct pm_reader reader = pm_source_reader(target);
    for (size_t i = 0; i < found->root_count; i++) {
        struct pm_root root;
        struct pm_region region;
        struct pm_options in_force;
        if (!found->roots[i].serves_malloc ||
            pm_snapshot_root(&reader, found->roots[i].address, &root) != PM_SNAPSHOT_TAKEN ||
            !pm_target_read(target, (uint64_t)root.region, &region, sizeof region) ||
            !pm_target_read(target, (uint64_t)root.options, &in_force, sizeof in_force))
            continue;
        limits.pools_start = region.base;
        limits.pools_end = region.base + region.size;
        limits.no_huge_pages = in_force.huge_pages == 0;
        break;
    }
    return limits;
}

int
pm_doctor_process(const char *pid)
{
    struct pm_target target;
    struct findings found = {0};
    pm_target_open_process(&target, pid);
    bool active = examine(&target, &found);
    if (!active && pm_target_has_ended(&target))
        pm_command_fail(PM_STATUS_NO_PROCESS, "process %d has ended", (int)target.pid);
    printf("%s (process %d): poolmalloc is %s\n\n", target.name, (int)target.pid, active ? "active" : "not active");
    if (!active)
        explain(&target, &found);
    print_roots(&found);
    if (found.first != NULL) {
        pm_objects_print(&found.objects);
        pm_bypass_print_process(&found.objects, &target);
    }
    pm_objects_free(&found.objects);
    char *variable = variable_of(target.pid, "PYTHONMALLOC");
    pm_doctor_hint_python(target.name, variable, active);
    free(variable);
    struct pm_limits limits = limits_of(&target, &found);
    pm_limits_print(&limits);
    pm_target_close(&target);
    return active ? PM_STATUS_OK : PM_STATUS_INACTIVE;
}
