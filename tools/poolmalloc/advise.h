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

#define PM_ADVISE_PROGRAMS 4

struct pm_advise_program {
    char name[64];
    unsigned processes;
    uint64_t requests, bytes;
    uint64_t most; /* weight of one process */
    pid_t process; /* that one */
};

/* A command may be a script that starts the program that allocates, or a chain of those. The program is that of the
 * process with the most weight, whatever the others add up to: the bytes it asked for, a request counted with 4 KiB at
 * most. Requests alone would find the shell in front of a Python that serves its small objects itself, bytes alone a dd
 * with one large buffer. `sum` is of all processes of that program. */
struct pm_recording {
    struct pm_record sum;
    unsigned processes;     /* of all programs */
    uint64_t requests;      /* of all programs */
    unsigned program_count; /* the first of them, by their `most`, are in the table */
    struct pm_advise_program programs[PM_ADVISE_PROGRAMS];
    struct pm_run_result run;
};

enum pm_quantity { PM_SECONDS, PM_PROCESSOR, PM_PEAK };

/* What runs say when each on poolmalloc is set against the one on the system's malloc just before it. */
struct pm_pairs {
    unsigned count;
    double low, high;    /* the outermost ratios */
    double ratio;        /* the middle of all: their geometric mean */
    double lower, upper; /* that of infinitely many lies between these, with 95 %; without bounds for fewer than 3 */
    double deviation;    /* of the ratios' logarithms */
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

double pm_advise_value(const struct pm_run_result *run, enum pm_quantity quantity);
struct pm_pairs pm_advise_pairs(const struct pm_runs *system, const struct pm_runs *pools, enum pm_quantity quantity);

void pm_advise_print_recording(const struct pm_recording *recording, bool linear);
void pm_advise_print_comparison(const struct pm_runs *system, const struct pm_runs *pools);
void pm_advise_print_advice(const struct pm_recording *recording, const struct pm_runs *system,
                            const struct pm_runs *pools);

#endif
