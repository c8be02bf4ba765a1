/* SPDX-License-Identifier: MIT
 *
 * The parts of poolmalloc advise: running and measuring, adding up what was recorded, saying what it means.
 */
#ifndef PM_ADVISE_H
#define PM_ADVISE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "advise_record.h"

#define PM_ADVISE_RUNS_MAX 99

struct pm_run_result {
    double seconds, processor_seconds;
    double peak_bytes; /* resident, of the largest of its processes */
    int status;        /* as of waitpid */
};

/* The runs on one allocator. */
struct pm_runs {
    struct pm_run_result runs[PM_ADVISE_RUNS_MAX];
    unsigned count;
};

struct pm_recording {
    struct pm_record sum;
    unsigned processes;
    char program[64]; /* the one with most requests */
    unsigned program_processes;
    struct pm_run_result run;
};

/* How the program is run; its standard output is dropped unless `output`, its standard input is ours from the beginning
 * again if that is a file, else empty. */
struct pm_launch {
    char **arguments;
    const char *preload;   /* NULL: the system's malloc */
    const char *directory; /* for records, or NULL */
    bool output, errors;
    unsigned seconds; /* ends it after that long; 0: never */
};

/* Set by SIGINT, which the command itself outlives. */
extern volatile sig_atomic_t pm_advise_interrupted;

void pm_advise_launch(const struct pm_launch *launch, struct pm_run_result *result);

/* Runs the program with the recorder; ends the command when nothing can be recorded. */
void pm_advise_record(struct pm_recording *recording, struct pm_launch launch);

void pm_advise_print_recording(const struct pm_recording *recording, bool linear);
void pm_advise_print_comparison(const struct pm_runs *system, const struct pm_runs *pools);
void pm_advise_print_advice(const struct pm_recording *recording, const struct pm_runs *system,
                            const struct pm_runs *pools, const char *binary);

#endif
