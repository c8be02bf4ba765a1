/* SPDX-License-Identifier: MIT
 *
 * poolmalloc advise: would poolmalloc help this program? Runs it once with the recorder, then on the system's malloc
 * and on poolmalloc in turn.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "advise.h"
#include "command.h"
#include "library.h"
#include "program.h"

static const char help[] =
    "usage: poolmalloc advise [options] [--] PROGRAM [ARGUMENT...]\n"
    "\n"
    "Would poolmalloc help this program? Runs it once to record its requests, then on the system's malloc and on\n"
    "poolmalloc in turn to measure time and memory, and gives its advice with the reason. The program must stand "
    "being\n"
    "run several times. Its standard output is dropped; its standard input begins anew if it is a file, else it is\n"
    "empty.\n"
    "\n"
    "  --runs N              runs on each allocator, 3 by default and for a verdict at least; 0: record only\n"
    "  --for SECONDS         for servers: record only, and end the program after that long\n"
    "  --linear              the histogram in steps of 16 bytes instead of doublings\n"
    "  --show-output         keep the standard output of the recorded run\n"
    "  --library FILE        this libpoolmalloc.so instead of the one that belongs to the command\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n";

enum choice { RUNS = 256, FOR, LINEAR, SHOW_OUTPUT, LIBRARY, HELP };

static const struct option options[] = {
    {"runs", required_argument, NULL, RUNS},
    {"for", required_argument, NULL, FOR},
    {"linear", no_argument, NULL, LINEAR},
    {"show-output", no_argument, NULL, SHOW_OUTPUT},
    {"library", required_argument, NULL, LIBRARY},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static void
check_program(const char *name, const char *library, struct pm_program *program)
{
    pm_program_examine(program, name, library);
    if (program->verdict == PM_NO_PROGRAM)
        pm_command_fail(PM_STATUS_NOT_FOUND, "%s: %s", name, program->reason);
    if (program->verdict == PM_NOT_EXECUTABLE)
        pm_command_fail(PM_STATUS_NOT_EXECUTABLE, "%s: %s", name, program->reason);
    if (program->verdict != PM_PRELOADABLE)
        pm_command_fail(PM_STATUS_NOT_PRELOADABLE, "%s cannot be preloaded: %s", program->binary, program->reason);
}

static void
check_result(const struct pm_run_result *result, const struct pm_run_result *first, const char *allocator)
{
    if (result->status == first->status)
        return;
    if (WIFSIGNALED(result->status))
        pm_command_fail(PM_STATUS_NO_RESULT, "on %s the program was killed by signal %d (%s)", allocator,
                        WTERMSIG(result->status), strsignal(WTERMSIG(result->status)));
    pm_command_fail(PM_STATUS_NO_RESULT,
                    "on %s the program ended with status %d, in the recorded run with another: it must "
                    "do the same in each",
                    allocator, WEXITSTATUS(result->status));
}

static void
compare(struct pm_launch launch, const char *library, unsigned runs, const struct pm_recording *recording,
        struct pm_runs *system, struct pm_runs *pools)
{
    launch.output = launch.errors = false;
    for (unsigned i = 0; i < runs && !pm_advise_interrupted; i++) {
        launch.preload = NULL;
        pm_advise_launch(&launch, &system->runs[i]);
        if (!pm_advise_interrupted)
            check_result(&system->runs[i], &recording->run, "the system's malloc");
        launch.preload = library;
        pm_advise_launch(&launch, &pools->runs[i]);
        if (pm_advise_interrupted)
            return;
        check_result(&pools->runs[i], &recording->run, "poolmalloc");
        system->count = pools->count = i + 1;
    }
}

int
pm_advise_main(int count, char **arguments)
{
    static struct pm_recording recording;
    static struct pm_runs system, pools;
    struct pm_launch launch = {.errors = true};
    const char *given = NULL;
    bool linear = false;
    unsigned runs = 3;
    int answer;
    while ((answer = getopt_long(count, arguments, "+:", options, NULL)) != -1)
        switch (answer) {
        case RUNS: runs = (unsigned)pm_command_number("--runs", optarg, 0, PM_ADVISE_RUNS_MAX); break;
        case FOR: launch.seconds = (unsigned)pm_command_number("--for", optarg, 1, 86400); break;
        case LINEAR: linear = true; break;
        case SHOW_OUTPUT: launch.output = true; break;
        case LIBRARY: given = optarg; break;
        case HELP: pm_command_help(help);
        default: pm_command_bad_option(answer, arguments);
        }
    if (optind == count)
        pm_command_usage("name a program to run");
    char *library = pm_library_find(PM_LIBRARY_NAME, given);
    char *recorder = pm_library_find(PM_LIBRARY_ADVISE_NAME, NULL);
    struct pm_program program;
    check_program(arguments[optind], library, &program);
    launch.arguments = arguments + optind;
    launch.preload = recorder;
    pm_advise_record(&recording, launch);
    bool ended_by_us = launch.seconds != 0 || pm_advise_interrupted;
    if (WIFSIGNALED(recording.run.status) && !ended_by_us)
        pm_command_fail(PM_STATUS_NO_RESULT, "the program was killed by signal %d (%s) while it was recorded",
                        WTERMSIG(recording.run.status), strsignal(WTERMSIG(recording.run.status)));
    pm_advise_print_recording(&recording, linear);
    if (WEXITSTATUS(recording.run.status) != 0 && !ended_by_us)
        printf("\nThe program ended with status %d.\n", WEXITSTATUS(recording.run.status));
    if (!ended_by_us)
        compare(launch, library, runs, &recording, &system, &pools);
    pm_advise_print_comparison(&system, &pools);
    pm_advise_print_advice(&recording, &system, &pools);
    pm_command_finish_output();
    return PM_STATUS_OK;
}
