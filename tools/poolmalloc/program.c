/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "elf_file.h"
#include "note.h"

#define SCRIPT_DEPTH 5 /* as far as the kernel follows scripts that are run by scripts */

static void __attribute__((format(printf, 3, 4)))
decide(struct pm_program *program, enum pm_verdict verdict, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    program->verdict = verdict;
    vsnprintf(program->reason, sizeof program->reason, format, arguments);
    va_end(arguments);
}

/* As execvp: the first executable file of that name in the PATH, else the first file. */
static bool
find_in_path(const char *name, char *path)
{
    if (strchr(name, '/') != NULL) {
        snprintf(path, PATH_MAX, "%s", name);
        return access(path, F_OK) == 0;
    }
    const char *directories = getenv("PATH");
    if (directories == NULL)
        directories = "/usr/local/bin:/bin:/usr/bin";
    bool found = false;
    char candidate[PATH_MAX];
    for (const char *start = directories; *name != '\0'; start += strcspn(start, ":") + 1) {
        int length = (int)strcspn(start, ":");
        snprintf(candidate, sizeof candidate, "%.*s%s%s", length, start, length > 0 ? "/" : "", name);
        struct stat status;
        bool file = stat(candidate, &status) == 0 && S_ISREG(status.st_mode);
        bool executable = file && access(candidate, X_OK) == 0;
        if (executable || (file && !found)) {
            strcpy(path, candidate);
            found = true;
        }
        if (executable || start[length] == '\0')
            break;
    }
    return found;
}

/* The interpreter in a script's first line; env(1) there is replaced by the program that it looks for. */
static bool
find_interpreter(const char *script, char *interpreter)
{
    char line[512];
    FILE *file = fopen(script, "re");
    bool read = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (!read || strncmp(line, "#!", 2) != 0)
        return false;
    char *saved, *word = strtok_r(line + 2, " \t\r\n", &saved);
    if (word == NULL)
        return false;
    const char *base = strrchr(word, '/');
    if (strcmp(base != NULL ? base + 1 : word, "env") == 0) {
        char *program = strtok_r(NULL, " \t\r\n", &saved);
        while (program != NULL && (program[0] == '-' || strchr(program, '=') != NULL))
            program = strtok_r(NULL, " \t\r\n", &saved);
        if (program != NULL)
            return find_in_path(program, interpreter);
    }
    snprintf(interpreter, PATH_MAX, "%s", word);
    return true;
}

/* Why the dynamic linker would run the file in its secure mode for this user; NULL when it would not. */
static const char *
find_privilege(const char *path)
{
    struct stat status;
    struct statvfs filesystem;
    if (stat(path, &status) != 0)
        return NULL;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
        (statvfs(path, &filesystem) == 0 && (filesystem.f_flag & ST_NOSUID) != 0))
        return NULL;
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid())
        return "is setuid";
    if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != getgid())
        return "is setgid";
    if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
        return "has file capabilities";
    return NULL;
}

static void
compare_libc(struct pm_program *program, struct pm_elf *binary, const char *library)
{
    struct pm_elf preloaded;
    char theirs[128], ours[128];
    if (library == NULL || !pm_elf_open(&preloaded, library))
        return;
    pm_elf_libc(binary, theirs, sizeof theirs);
    pm_elf_libc(&preloaded, ours, sizeof ours);
    if (theirs[0] != '\0' && ours[0] != '\0' && strcmp(theirs, ours) != 0)
        decide(program, PM_OTHER_LIBC, "it uses another libc (%s) than the library (%s)", theirs, ours);
    pm_elf_close(&preloaded);
}

static void
examine_binary(struct pm_program *program, const char *library)
{
    struct pm_elf elf;
    if (!pm_elf_open(&elf, program->binary)) {
        if (errno == EACCES) /* may be executed, not read: nothing speaks against it that we can see */
            return;
        decide(program, PM_NOT_EXECUTABLE, "%s is neither an ELF file nor a script", program->binary);
        return;
    }
    program->allocator = pm_elf_known_allocator(&elf);
    bool ours = pm_elf_is_poolmalloc(&elf), own = pm_elf_exports(&elf, "malloc");
    const char *sanitizer = pm_elf_sanitizer(&elf);
    program->own_functions = !ours && pm_elf_has_note(&elf, PM_NOTE_ROOT);
    const char *privilege = find_privilege(program->binary);
    if (elf.header.e_type != ET_EXEC && elf.header.e_type != ET_DYN)
        decide(program, PM_NOT_EXECUTABLE, "%s is an ELF file, but no program", program->binary);
    else if (pm_elf_is_static_program(&elf) && ours)
        decide(program, PM_STATIC_POOLMALLOC, "it is statically linked, with poolmalloc in it");
    else if (pm_elf_is_static_program(&elf))
        decide(program, PM_STATIC_PROGRAM,
               "it is statically linked, so no dynamic linker loads anything into it%s%s (link it with "
               "libpoolmalloc_wrap.a)",
               program->allocator != NULL ? "; it has its own allocator, " : "",
               program->allocator != NULL ? program->allocator : "");
    else if (!pm_elf_is_native(&elf))
        decide(program, PM_OTHER_MACHINE, "it is %s, and the library is not",
               elf.header.e_ident[EI_CLASS] == ELFCLASS32 ? "a 32-bit program" : "for another processor");
    else if (privilege != NULL)
        decide(program, PM_PRIVILEGED_PROGRAM, "it %s, so the dynamic linker ignores LD_PRELOAD", privilege);
    else if (sanitizer != NULL)
        decide(program, PM_SANITIZED_PROGRAM, "it is built with %s, which needs a malloc of its own", sanitizer);
    else if (own && ours)
        decide(program, PM_OWN_POOLMALLOC, "poolmalloc is linked into it");
    else if (ours)
        decide(program, PM_OWN_MALLOC,
               "poolmalloc is linked into it, but hidden (a version script, --exclude-libs): its libraries do not see "
               "that malloc");
    else if (own)
        decide(program, PM_OWN_MALLOC, "it defines malloc itself%s%s%s, and a program's own definitions come first",
               program->allocator != NULL ? " (" : "", program->allocator != NULL ? program->allocator : "",
               program->allocator != NULL ? ")" : "");
    else
        compare_libc(program, &elf, library);
    pm_elf_close(&elf);
}

void
pm_program_examine(struct pm_program *program, const char *name, const char *library)
{
    memset(program, 0, sizeof *program);
    if (!find_in_path(name, program->path)) {
        decide(program, PM_NO_PROGRAM, "there is no such program");
        return;
    }
    struct stat status;
    if (stat(program->path, &status) == 0 && S_ISDIR(status.st_mode)) {
        decide(program, PM_NOT_EXECUTABLE, "it is a directory");
        return;
    }
    if (access(program->path, X_OK) != 0) {
        decide(program, PM_NOT_EXECUTABLE, "%s", strerror(errno));
        return;
    }
    strcpy(program->binary, program->path);
    char interpreter[PATH_MAX];
    for (int depth = 0; depth < SCRIPT_DEPTH && find_interpreter(program->binary, interpreter); depth++) {
        strcpy(program->binary, interpreter);
        program->script = true;
    }
    if (program->script && access(program->binary, X_OK) != 0) {
        decide(program, PM_NOT_EXECUTABLE, "its interpreter %s: %s", program->binary, strerror(errno));
        return;
    }
    examine_binary(program, library);
}
