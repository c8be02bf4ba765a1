/* SPDX-License-Identifier: MIT
 *
 * poolmalloc stat: the statistics of a running process. The dump is the library's own (dump.h), made here from the
 * memory of the process, which is neither stopped nor asked.
 */
#define _GNU_SOURCE
#include "stat.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define WATCH_MIN 0.05
#define WATCH_MAX 86400.0

static const char help[] =
    "usage: poolmalloc stat [options] PID\n"
    "\n"
    "What the heap of a running process holds: size classes, arenas, heaps of threads, totals, and where its resident\n"
    "memory is; as the program itself prints it with POOLMALLOC_STATS=1. The process goes on running meanwhile.\n"
    "\n"
    "  --json                the same as JSON\n"
    "  --watch SECONDS       totals and busy size classes with rates, renewed that often, until q is pressed; a line\n"
    "                        each time when the output is no terminal; with --json a document each time\n"
    "  --count N             end after N times; without it when the process ends\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n";

enum choice { JSON = 256, WATCH, COUNT, HELP };

static const struct option options[] = {
    {"json", no_argument, NULL, JSON},
    {"watch", required_argument, NULL, WATCH},
    {"count", required_argument, NULL, COUNT},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

struct pm_view *
pm_stat_take(struct pm_source *source, const struct pm_reader *reader, struct pm_view *view)
{
    for (;;) {
        if (view == NULL)
            view = pm_view_create(reader, source->root, NULL);
        if (view == NULL || pm_view_take(view, reader, source->root) != PM_SNAPSHOT_TAKEN)
            pm_source_fail(source);
        if (!view->snapshot.incomplete)
            return view;
        pm_view_destroy(view); /* the heap has outgrown it */
        view = NULL;
    }
}

/* Straight to the descriptor, as the library does it. */
static void
dump(struct pm_source *source, bool json)
{
    struct pm_process_reader reader;
    struct pm_text text;
    pm_reader_open(&reader, source->target.pid, true);
    struct pm_view *view = pm_stat_take(source, &reader.reader, NULL);
    pm_view_account(view, source->target.pid, NULL);
    pm_command_finish_output();
    pm_text_start(&text, STDOUT_FILENO);
    if (json)
        pm_dump_json(&text, view);
    else
        pm_dump_text(&text, view);
    pm_text_flush(&text);
    pm_view_destroy(view);
    pm_reader_close(&reader);
}

static double
parse_seconds(const char *string)
{
    char *end;
    double seconds = strtod(string, &end);
    if (end == string || *end != '\0' || !(seconds >= WATCH_MIN && seconds <= WATCH_MAX))
        pm_command_usage("--watch takes seconds, from %g on, not '%s'", WATCH_MIN, string);
    return seconds;
}

int
pm_stat_main(int count, char **arguments)
{
    struct pm_source source;
    unsigned long times = 0;
    double seconds = 0;
    bool json = false;
    int answer;
    while ((answer = getopt_long(count, arguments, ":", options, NULL)) != -1)
        switch (answer) {
        case JSON: json = true; break;
        case WATCH: seconds = parse_seconds(optarg); break;
        case COUNT: times = pm_command_number("--count", optarg, 1, 1000000000); break;
        case HELP: pm_command_help(help);
        default: pm_command_bad_option(answer, arguments);
        }
    if (count - optind != 1)
        pm_command_usage("give one PID");
    if (times != 0 && seconds == 0)
        pm_command_usage("--count goes with --watch");
    /* The library's text writer does not report what it could not write. */
    if (write(STDOUT_FILENO, "", 0) != 0)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "cannot write the output");
    pm_source_open_process(&source, arguments[optind]);
    if (seconds != 0 && !json) {
        pm_stat_watch(&source, seconds, times);
    } else {
        for (unsigned long time = 1;; time++) {
            dump(&source, json);
            if (seconds == 0 || time == times)
                break;
            usleep((useconds_t)(seconds * 1e6));
        }
    }
    pm_command_finish_output();
    pm_source_close(&source);
    return PM_STATUS_OK;
}
