/* SPDX-License-Identifier: MIT
 *
 * What `poolmalloc advise` says of given runs, without running anything: its verdict on numbers that the test made up.
 *
 * usage: advice PROGRAM OTHERS SECONDS_SYSTEM:SECONDS_POOLS:MIB_SYSTEM:MIB_POOLS...
 *
 * One argument for each pair of runs; OTHERS is how many more programs were recorded.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "advise.h"
#include "command.h"

char *
pm_command_format(const char *format, ...)
{
    va_list arguments;
    char *text;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

int
main(int count, char **arguments)
{
    static struct pm_recording recording;
    static struct pm_runs system, pools;
    if (count < 3 || count - 3 > PM_ADVISE_RUNS_MAX)
        return 2;
    snprintf(recording.programs[0].name, sizeof recording.programs[0].name, "%s", arguments[1]);
    recording.program_count = 1 + (unsigned)atoi(arguments[2]);
    recording.sum.small.requests = 9000000;
    recording.sum.large.requests = 1000000;
    recording.requests = 10000000;
    recording.run.seconds = 10;
    for (int i = 3; i < count; i++) {
        struct pm_run_result *one = &system.runs[system.count++], *other = &pools.runs[pools.count++];
        if (sscanf(arguments[i], "%lf:%lf:%lf:%lf", &one->processor_seconds, &other->processor_seconds,
                   &one->peak_bytes, &other->peak_bytes) != 4)
            return 2;
    }
    pm_advise_print_advice(&recording, &system, &pools);
    return 0;
}
