/* SPDX-License-Identifier: MIT
 *
 * poolmalloc run: becomes the program, with the library preloaded, after a look at whether that can work. Since it is
 * the same process, exit status, signals and terminal are the program's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "geometry.h"
#include "library.h"
#include "program.h"

static const char help[] =
    "usage: poolmalloc run [options] [--] PROGRAM [ARGUMENT...]\n"
    "\n"
    "Runs a program, and the programs it starts, on poolmalloc. Exit status and signals are the program's.\n"
    "\n"
    "  --stats[=text|json]   statistics when the program exits, on stderr\n"
    "  --stats-file NAME     statistics into that file; %p in it becomes the process number\n"
    "  --alignment 8|16      8: blocks packed denser, for programs that need no more (default 16)\n"
    "  --check               check every free in the call; slow\n"
    "  --purge WHEN          give memory back eager, balanced (default) or never\n"
    "  --region SIZE         address space to reserve, such as 512M or 64G\n"
    "  --preload-only        the library and nothing else: the POOLMALLOC_ variables of the environment are removed\n"
    "  --library FILE        this libpoolmalloc.so instead of the one that belongs to the command\n"
    "  --force               run the program even if it cannot be preloaded: those it starts may be\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n"
    "\n"
    "The program is not run, and the exit status is 117, when it cannot be preloaded (static, setuid, ...).\n";

enum choice { STATS = 256, STATS_FILE, ALIGNMENT, CHECK, PURGE, REGION, PRELOAD_ONLY, LIBRARY, FORCE, HELP };

static const struct option options[] = {
    {"stats", optional_argument, NULL, STATS},
    {"stats-file", required_argument, NULL, STATS_FILE},
    {"alignment", required_argument, NULL, ALIGNMENT},
    {"check", no_argument, NULL, CHECK},
    {"purge", required_argument, NULL, PURGE},
    {"region", required_argument, NULL, REGION},
    {"preload-only", no_argument, NULL, PRELOAD_ONLY},
    {"library", required_argument, NULL, LIBRARY},
    {"force", no_argument, NULL, FORCE},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

struct request {
    const char *library;
    bool force, preload_only, sets_options;
};

static void
take(const char *option, const char *value, const char *const *choices, const char *variable)
{
    for (; *choices != NULL; choices++)
        if (strcmp(value, *choices) == 0) {
            setenv(variable, value, 1);
            return;
        }
    pm_command_usage("%s cannot be '%s'", option, value);
}

static void
take_region(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    size_t units = strspn(value + digits, "KMGT");
    size_t bytes = strtoull(value, NULL, 10), shift = 0;
    static const char suffixes[] = "KMGT";
    if (units == 1)
        shift = 10 * (size_t)(strchr(suffixes, value[digits]) - suffixes + 1);
    bool fits = digits < 16 && bytes <= PM_REGION_MAX >> shift && (bytes == 0 || bytes << shift >= PM_REGION_MIN);
    if (digits == 0 || units > 1 || value[digits + units] != '\0' || !fits)
        pm_command_usage("--region takes 0 or a number of bytes from 16M to 1T, not '%s'", value);
    setenv("POOLMALLOC_REGION", value, 1);
}

static void
clear_environment(void)
{
    for (char **variable = environ; *variable != NULL;) {
        size_t length = strcspn(*variable, "=");
        if (strncmp(*variable, "POOLMALLOC_", strlen("POOLMALLOC_")) != 0) {
            variable++;
            continue;
        }
        char *name = strndup(*variable, length);
        unsetenv(name);
        free(name);
    }
}

static void
take_option(int answer, struct request *request, char **arguments)
{
    static const char *const formats[] = {"text", "json", NULL};
    static const char *const alignments[] = {"8", "16", NULL};
    static const char *const purges[] = {"eager", "balanced", "never", NULL};
    request->sets_options |= answer >= STATS && answer <= REGION;
    switch (answer) {
    case STATS:
        if (optarg != NULL && strcmp(optarg, "text") != 0)
            take("--stats", optarg, formats, "POOLMALLOC_STATS");
        else
            setenv("POOLMALLOC_STATS", "1", 1);
        break;
    case STATS_FILE:
        setenv("POOLMALLOC_STATS_FILE", optarg, 1);
        if (getenv("POOLMALLOC_STATS") == NULL)
            setenv("POOLMALLOC_STATS", "1", 1);
        break;
    case ALIGNMENT: take("--alignment", optarg, alignments, "POOLMALLOC_ALIGNMENT"); break;
    case CHECK: setenv("POOLMALLOC_CHECK", "1", 1); break;
    case PURGE: take("--purge", optarg, purges, "POOLMALLOC_PURGE"); break;
    case REGION: take_region(optarg); break;
    case PRELOAD_ONLY: request->preload_only = true; break;
    case LIBRARY: request->library = optarg; break;
    case FORCE: request->force = true; break;
    case HELP: pm_command_help(help);
    default: pm_command_bad_option(answer, arguments);
    }
}

static void
check_program(const char *name, const char *library, bool force)
{
    struct pm_program program;
    pm_program_examine(&program, name, library);
    switch (program.verdict) {
    case PM_PRELOADABLE: break;
    case PM_NO_PROGRAM: pm_command_fail(PM_STATUS_NOT_FOUND, "%s: %s", name, program.reason);
    case PM_NOT_EXECUTABLE: pm_command_fail(PM_STATUS_NOT_EXECUTABLE, "%s: %s", name, program.reason);
    case PM_STATIC_POOLMALLOC:
    case PM_OWN_POOLMALLOC: break; /* it runs on poolmalloc as it is */
    default:
        if (!force)
            pm_command_fail(PM_STATUS_NOT_PRELOADABLE, "%s cannot be preloaded: %s", program.binary, program.reason);
    }
}

int
pm_run_main(int count, char **arguments)
{
    struct request request = {0};
    int answer;
    while ((answer = getopt_long(count, arguments, "+:", options, NULL)) != -1)
        take_option(answer, &request, arguments);
    if (optind == count)
        pm_command_usage("name a program to run");
    if (request.preload_only && request.sets_options)
        pm_command_usage("--preload-only is for running without the options of the library");
    if (request.preload_only)
        clear_environment();
    char *library = pm_library_find(PM_LIBRARY_NAME, request.library);
    check_program(arguments[optind], library, request.force);
    pm_library_preload(library);
    execvp(arguments[optind], arguments + optind);
    pm_command_fail(errno == ENOENT ? PM_STATUS_NOT_FOUND : PM_STATUS_NOT_EXECUTABLE, "%s: %s", arguments[optind],
                    strerror(errno));
}
