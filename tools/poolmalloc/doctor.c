/* SPDX-License-Identifier: MIT
 *
 * poolmalloc doctor: is poolmalloc active in a process, or would it be in a program, and if not, why; which object
 * serves each allocation symbol; which limits of the system bear on it. The sections are printed as they are found out.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <elf.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "doctor.h"
#include "library.h"
#include "poolmalloc.h"
#include "program.h"

static const char help[] =
    "usage: poolmalloc doctor [PID]\n"
    "       poolmalloc doctor [options] -- PROGRAM\n"
    "\n"
    "Says whether poolmalloc is active in a process, or would be in a program under `poolmalloc run`, and if not,\n"
    "why; which object serves each allocation function there; and which limits of the system bear on it. Without PID "
    "or\n"
    "PROGRAM: about the installation and the system alone. The program is not run.\n"
    "\n"
    "  --library FILE        this libpoolmalloc.so instead of the one that belongs to the command\n"
    "  --help\n"
    "\n"
    "The exit status is 0 when poolmalloc is or would be active, 1 when not.\n";

enum choice { LIBRARY = 256, HELP };

static const struct option options[] = {
    {"library", required_argument, NULL, LIBRARY},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static int
diagnose_program(const char *name, const char *library)
{
    struct pm_program program;
    pm_program_examine(&program, name, library);
    if (program.verdict == PM_NO_PROGRAM)
        pm_command_fail(PM_STATUS_NOT_FOUND, "%s: %s", name, program.reason);
    if (program.verdict == PM_NOT_EXECUTABLE)
        pm_command_fail(PM_STATUS_NOT_EXECUTABLE, "%s: %s", name, program.reason);
    bool linked = program.verdict == PM_STATIC_POOLMALLOC || program.verdict == PM_OWN_POOLMALLOC;
    bool active = linked || program.verdict == PM_PRELOADABLE;
    printf("%s: poolmalloc %s\n\n", name,
           !active  ? "would not be active"
           : linked ? "is linked into it"
                    : "would be active");
    if (!active)
        printf("  why not      %s\n", program.reason);
    printf("  program      %s\n", program.path);
    if (program.script)
        printf("  a script of  %s\n", program.binary);
    if (!linked)
        printf("  library      %s\n", library);
    if (program.allocator != NULL && !linked)
        printf("  note         %s is linked into the program; what calls it directly passes poolmalloc by\n",
               program.allocator);
    struct pm_objects objects = {0};
    if (program.verdict == PM_PRELOADABLE || program.verdict == PM_OWN_MALLOC || program.verdict == PM_OWN_POOLMALLOC)
        pm_objects_of_program(&objects, &program, library);
    pm_objects_print(&objects);
    pm_objects_free(&objects);
    pm_doctor_hint_python(program.binary, getenv("PYTHONMALLOC"), active);
    pm_limits_print(0);
    return active ? PM_STATUS_OK : PM_STATUS_INACTIVE;
}

static int
diagnose_installation(const char *library)
{
    printf("poolmalloc " PM_VERSION_STRING "\n\n");
    printf("  library      %s\n", library);
    char *advise = pm_library_look(PM_LIBRARY_ADVISE_NAME);
    printf("  recorder     %s\n", advise != NULL ? advise : "missing: poolmalloc advise cannot work");
    free(advise);
    const char *preload = getenv("LD_PRELOAD");
    printf("  LD_PRELOAD   %s\n",
           preload != NULL && *preload != '\0' ? preload : "not set here; `poolmalloc run` sets it");
    pm_limits_print(0);
    return PM_STATUS_OK;
}

void
pm_doctor_hint_python(const char *binary, const char *variable, bool active)
{
    const char *base = strrchr(binary, '/');
    base = base != NULL ? base + 1 : binary;
    if (active && strncmp(base, "python", 6) == 0 && (variable == NULL || strcmp(variable, "malloc") != 0))
        puts("\n  note         Python's own pools serve its small objects, and only what they need comes from malloc:\n"
             "               with PYTHONMALLOC=malloc in the environment poolmalloc serves the objects themselves");
}

int
pm_doctor_main(int count, char **arguments)
{
    const char *given = NULL;
    int answer;
    while ((answer = getopt_long(count, arguments, "+:", options, NULL)) != -1)
        switch (answer) {
        case LIBRARY: given = optarg; break;
        case HELP: pm_command_help(help);
        default: pm_command_bad_option(answer, arguments);
        }
    bool dashes = optind > 1 && strcmp(arguments[optind - 1], "--") == 0;
    if (count - optind > 1 && !dashes)
        pm_command_usage("one PID, or -- and a program");
    int status;
    if (optind == count) {
        status = diagnose_installation(pm_library_find(PM_LIBRARY_NAME, given));
    } else if (dashes || !isdigit((unsigned char)arguments[optind][0])) {
        status = diagnose_program(arguments[optind], pm_library_find(PM_LIBRARY_NAME, given));
    } else {
        status = pm_doctor_process(arguments[optind]);
    }
    pm_command_finish_output();
    return status;
}
