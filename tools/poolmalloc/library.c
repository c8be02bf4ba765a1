/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "library.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "command.h"
#include "elf_file.h"

char *
pm_library_look(const char *name)
{
    /* From the directory of the command: a build's, and the installation's, which may have been moved as a whole. */
    static const char *const places[] = {"", PM_RELATIVE_LIBDIR "/"};
    /* Where there is no /proc the kernel has still said what it executed. */
    char self[PATH_MAX];
    if (realpath("/proc/self/exe", self) == NULL && realpath((const char *)getauxval(AT_EXECFN), self) == NULL)
        return NULL;
    *(strrchr(self, '/') + 1) = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *candidate = pm_command_format("%s%s%s", self, places[i], name);
        char *path = realpath(candidate, NULL);
        free(candidate);
        if (path != NULL)
            return path;
    }
    char *installed = pm_command_format("%s/%s", PM_INSTALLED_LIBDIR, name);
    char *path = realpath(installed, NULL);
    free(installed);
    return path;
}

char *
pm_library_find(const char *name, const char *given)
{
    char *path = given != NULL ? realpath(given, NULL) : pm_library_look(name);
    if (path == NULL && given != NULL)
        pm_command_fail(PM_STATUS_NO_LIBRARY, "there is no library %s", given);
    if (path == NULL)
        pm_command_fail(PM_STATUS_NO_LIBRARY, "%s is neither beside the command nor in %s", name, PM_INSTALLED_LIBDIR);
    struct pm_elf elf;
    if (!pm_elf_open(&elf, path) || elf.header.e_type != ET_DYN || !pm_elf_is_native(&elf))
        pm_command_fail(PM_STATUS_NO_LIBRARY, "%s is not a shared library of this machine", path);
    if (given != NULL && !pm_elf_is_poolmalloc(&elf))
        pm_command_fail(PM_STATUS_NO_LIBRARY, "%s is not poolmalloc", path);
    pm_elf_close(&elf);
    if (path[strcspn(path, " :\t\n")] != '\0')
        pm_command_fail(PM_STATUS_NO_LIBRARY, "%s has a blank or a colon in its name, which LD_PRELOAD cannot hold",
                        path);
    return path;
}

void
pm_library_preload(const char *library)
{
    char *list = pm_command_format("%s", library);
    const char *others = getenv("LD_PRELOAD");
    char *copy = pm_command_format("%s", others != NULL ? others : "");
    char *saved;
    for (char *other = strtok_r(copy, " :", &saved); other != NULL; other = strtok_r(NULL, " :", &saved)) {
        const char *base = strrchr(other, '/');
        if (strncmp(base != NULL ? base + 1 : other, "libpoolmalloc", strlen("libpoolmalloc")) == 0)
            continue;
        char *longer = pm_command_format("%s:%s", list, other);
        free(list);
        list = longer;
    }
    setenv("LD_PRELOAD", list, 1);
    free(copy);
    free(list);
}
