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
#include "printable.h"
#include "program.h"

static const char help[] =
    "usage: poolmalloc doctor [PID]\n"
    "       poolmalloc doctor [options] -- PROGRAM\n"
    "\n"
    "Says whether poolmalloc is active in a process, or would be in a program under `poolmalloc run`, and if not,\n"
    "why; which object serves each allocation function there, and what bypasses poolmalloc; and which limits of the\n"
    "system bear on it. Without PID or PROGRAM: about the installation and the system alone. The program is not run.\n"
    "\n"
    "  --library FILE        this libpoolmalloc.so instead of the one that belongs to the command\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n"
    "\n"
    "The exit status is 0 when poolmalloc is or would be active, 1 when not or when that is not known.\n";

enum choice { LIBRARY = 256, HELP };

static const struct option options[] = {
    {"library", required_argument, NULL, LIBRARY},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

/* Whether the program would run on poolmalloc. */
enum state { ACTIVE, LINKED, NOT_ACTIVE, UNKNOWN };

static enum state
judge(const struct pm_program *program, struct pm_objects *objects, const char *library, char **why)
{
    enum pm_verdict verdict = program->verdict;
    *why = pm_command_format("%s", program->reason);
    if (verdict == PM_STATIC_POOLMALLOC)
        return LINKED;
    if (verdict != PM_PRELOADABLE && verdict != PM_OWN_MALLOC && verdict != PM_OWN_POOLMALLOC)
        return NOT_ACTIVE;
    char *problem = pm_objects_of_program(objects, program, verdict != PM_OWN_POOLMALLOC ? library : NULL);
    const struct pm_object *first = pm_objects_server(objects, "malloc", NULL);
    const char *sanitizer = pm_objects_sanitizer(objects);
    if (problem == NULL && sanitizer != NULL) {
        free(*why);
        *why = pm_command_format("%s is loaded with it, which needs a malloc of its own", sanitizer);
        return NOT_ACTIVE;
    }
    if (problem == NULL && verdict == PM_PRELOADABLE && (first == NULL || !first->poolmalloc)) {
        free(*why);
        *why = first != NULL ? pm_command_format("the dynamic linker finds malloc in %s first", first->name)
                             : pm_command_format("the dynamic linker finds no malloc: a library may be missing");
        return NOT_ACTIVE;
    }
    if (problem == NULL || verdict != PM_PRELOADABLE) {
        free(problem);
        return verdict == PM_PRELOADABLE ? ACTIVE : verdict == PM_OWN_POOLMALLOC ? LINKED : NOT_ACTIVE;
    }
    free(*why);
    *why = problem;
    return UNKNOWN;
}

static int
diagnose_program(const char *name, const char *library)
{
    static const char *const headings[] = {
        [ACTIVE] = "poolmalloc would be active",
        [LINKED] = "poolmalloc is linked into it",
        [NOT_ACTIVE] = "poolmalloc would not be active",
        [UNKNOWN] = "whether poolmalloc would be active is not known",
    };
    struct pm_program program;
    struct pm_objects objects = {0};
    char *why;
    pm_program_examine(&program, name, library);
    if (program.verdict == PM_NO_PROGRAM)
        pm_command_fail(PM_STATUS_NOT_FOUND, "%s: %s", name, program.reason);
    if (program.verdict == PM_NOT_EXECUTABLE)
        pm_command_fail(PM_STATUS_NOT_EXECUTABLE, "%s: %s", name, program.reason);
    enum state state = judge(&program, &objects, library, &why);
    bool linked = state == LINKED;
    printf("%s: %s\n\n", pm_printable(name), headings[state]);
    if (state == NOT_ACTIVE || state == UNKNOWN)
        printf("  why%s      %s\n", state == UNKNOWN ? "    " : " not", pm_printable(why));
    printf("  program      %s\n", pm_printable(program.path));
    if (program.script)
        printf("  a script of  %s\n", pm_printable(program.binary));
    if (!linked)
        printf("  library      %s\n", library);
    if (program.own_functions)
        puts("  note         poolmalloc's own functions (pm_malloc and so on) are linked into the program too");
    if (program.allocator != NULL && program.verdict == PM_PRELOADABLE)
        printf("  note         %s is linked into the program; what calls it directly passes poolmalloc by\n",
               program.allocator);
    if (state != UNKNOWN) {
        pm_objects_print(&objects);
        pm_bypass_print_program(&objects);
    }
    pm_objects_free(&objects);
    free(why);
    pm_doctor_hint_python(program.binary, getenv("PYTHONMALLOC"), state == ACTIVE || linked);
    pm_limits_print(&(struct pm_limits){0});
    return state == ACTIVE || linked ? PM_STATUS_OK : PM_STATUS_INACTIVE;
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
           preload != NULL && *preload != '\0' ? pm_printable(preload) : "not set here; `poolmalloc run` sets it");
    pm_limits_print(&(struct pm_limits){0});
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
        pm_command_usage("give one PID, or -- and a program");
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
