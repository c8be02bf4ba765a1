/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "doctor.h"
#include "elf_file.h"
#include "library.h"
#include "loader.h"
#include "printable.h"
#include "program.h"
#include "target.h"

static const struct {
    const char *symbol, *name;
} functions[] = {
    {"malloc", "malloc"},
    {"calloc", "calloc"},
    {"realloc", "realloc"},
    {"free", "free"},
    {"memalign", "memalign"},
    {"aligned_alloc", "aligned_alloc"},
    {"posix_memalign", "posix_memalign"},
    {"malloc_usable_size", "malloc_usable_size"},
    {"_Znwm", "operator new"},
    {"_ZdlPv", "operator delete"},
};

#define FUNCTION_COUNT (sizeof functions / sizeof functions[0])

struct pm_object *
pm_objects_add(struct pm_objects *objects, const char *name, const char *path)
{
    struct pm_elf elf;
    objects->entries = pm_command_reallocate(objects->entries, (objects->count + 1) * sizeof *objects->entries);
    struct pm_object *object = &objects->entries[objects->count++];
    *object = (struct pm_object){.name = pm_command_format("%s", name), .path = pm_command_format("%s", path)};
    pm_printable_make(object->name);
    if (pm_elf_open(&elf, path)) {
        object->poolmalloc = pm_elf_is_poolmalloc(&elf);
        pm_elf_close(&elf);
    }
    return object;
}

void
pm_objects_free(struct pm_objects *objects)
{
    for (size_t i = 0; i < objects->count; i++) {
        free(objects->entries[i].name);
        free(objects->entries[i].path);
    }
    free(objects->entries);
}

/* In a process its own memory says it: the file may be gone. */
static bool
defines(const struct pm_object *object, const char *symbol)
{
    struct pm_elf elf;
    if (object->target != NULL)
        return pm_target_symbol(object->target, object->start, symbol) != 0;
    if (!pm_elf_open(&elf, object->path))
        return false;
    bool answer = pm_elf_exports(&elf, symbol);
    pm_elf_close(&elf);
    return answer;
}

const struct pm_object *
pm_objects_server(const struct pm_objects *objects, const char *symbol, const struct pm_object *after)
{
    for (size_t i = after != NULL ? (size_t)(after - objects->entries) + 1 : 0; i < objects->count; i++)
        if (defines(&objects->entries[i], symbol))
            return &objects->entries[i];
    return NULL;
}

const char *
pm_objects_sanitizer(const struct pm_objects *objects)
{
    const char *sanitizer = NULL;
    for (size_t i = 0; i < objects->count && sanitizer == NULL; i++) {
        struct pm_elf elf;
        if (!pm_elf_open(&elf, objects->entries[i].path))
            continue;
        sanitizer = pm_elf_sanitizer(&elf);
        pm_elf_close(&elf);
    }
    return sanitizer;
}

/* " (jemalloc)", or nothing. */
static void
print_allocator(const struct pm_object *object)
{
    struct pm_elf elf;
    const char *allocator = object->poolmalloc ? "poolmalloc" : NULL;
    if (allocator == NULL && pm_elf_open(&elf, object->path)) {
        allocator = pm_elf_known_allocator(&elf);
        pm_elf_close(&elf);
    }
    if (allocator != NULL)
        printf(" (%s)", allocator);
}

static void
print_server(const struct pm_object *const *servers, size_t first)
{
    printf("  ");
    int column = 0;
    for (size_t i = first; i < FUNCTION_COUNT; i++)
        if (servers[i] == servers[first]) {
            int length = (int)strlen(functions[i].name);
            if (column > 0 && column + length + 2 > 88) {
                printf(",\n  ");
                column = 0;
            }
            column += printf("%s%s", column > 0 ? ", " : "", functions[i].name);
        }
    if (servers[first] == NULL) {
        puts("\n      none: no object defines them");
        return;
    }
    printf("\n      %s", servers[first]->name);
    print_allocator(servers[first]);
    putchar('\n');
}

void
pm_objects_print(const struct pm_objects *objects)
{
    if (objects->count == 0)
        return;
    const struct pm_object *servers[FUNCTION_COUNT];
    puts("\nwho serves what");
    for (size_t i = 0; i < FUNCTION_COUNT; i++)
        servers[i] = pm_objects_server(objects, functions[i].symbol, NULL);
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        bool printed = false;
        for (size_t j = 0; j < i; j++)
            printed |= servers[j] == servers[i];
        if (!printed)
            print_server(servers, i);
    }
    if (servers[0] == NULL || !servers[0]->poolmalloc)
        return;
    const struct pm_object *behind = pm_objects_server(objects, "malloc", servers[0]);
    printf("  behind poolmalloc, for blocks above 512 bytes\n      %s",
           behind != NULL ? behind->name : "mappings of their own");
    if (behind != NULL)
        print_allocator(behind);
    putchar('\n');
}

/* A line of the dynamic linker: "name => path (address)" or "path (address)". */
static void
take_line(struct pm_objects *objects, char *line)
{
    char *address = strstr(line, " (0x");
    if (address == NULL)
        return;
    *address = '\0';
    char *path = strstr(line, "=> ");
    path = path != NULL ? path + 3 : line + strspn(line, " \t");
    if (path[0] == '/')
        pm_objects_add(objects, path, path);
}

/* Runs the dynamic linker in the mode of ldd(1), and takes what it prints. */
static void
ask_loader(struct pm_objects *objects, const char *loader, const char *binary, const char *library)
{
    int ends[2];
    if (pipe(ends) != 0)
        pm_command_fail(PM_STATUS_NOT_EXECUTABLE, "%s: %s", binary, strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (library != NULL)
            pm_library_preload(library);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(loader, loader, "--list", binary, (char *)NULL);
        _exit(PM_STATUS_NOT_EXECUTABLE);
    }
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    char line[8192];
    while (output != NULL && fgets(line, sizeof line, output) != NULL)
        take_line(objects, line);
    if (output != NULL)
        fclose(output);
    waitpid(child, NULL, 0);
}

char *
pm_objects_of_program(struct pm_objects *objects, const struct pm_program *program, const char *library)
{
    struct pm_elf elf;
    char loader[PATH_MAX];
    const char *reason;
    pm_objects_add(objects, program->binary, program->binary);
    if (!pm_elf_open(&elf, program->binary))
        return pm_command_format("its file cannot be read: %s", strerror(errno));
    char *interpreter = pm_command_format("%s", elf.interpreter), *problem = NULL;
    pm_elf_close(&elf);
    char *binary = realpath(program->binary, NULL);
    if (binary == NULL)
        problem = pm_command_format("%s", strerror(errno));
    else if (!pm_loader_may_run(interpreter, loader, &reason))
        problem = pm_command_format("its dynamic linker %s %s", interpreter, reason);
    else
        ask_loader(objects, loader, binary, library);
    free(binary);
    free(interpreter);
    return problem;
}
