/* SPDX-License-Identifier: MIT
 *
 * Runs another program, under limits and with an environment of its own, and says how it ended and what it wrote. For
 * drivers: programs that are expected to die, and programs that are started where there is little to start in.
 */
#ifndef TEST_RUN_H
#define TEST_RUN_H

#include <stddef.h>
#include <sys/resource.h>

enum { RUN_LIMITS = 4, RUN_TEXT = 16384 };

struct run {
    const char *const *command;     /* argv; the first is the program's path; NULL at the end */
    const char *const *environment; /* NAME=value to add, NULL at the end; NULL for none */
    struct {
        int resource;
        rlim_t value;
    } limits[RUN_LIMITS];
    int limit_count;
    unsigned seconds; /* until SIGALRM; 0: 60 */

    int status; /* as waitpid gives it */
    char output[RUN_TEXT];
    char errors[RUN_TEXT];
};

/* Fills the last three. Of the inherited environment, LD_PRELOAD and POOLMALLOC_* are not passed on. */
void run_program(struct run *run);

/* Fails the test unless the program exited with 0 and wrote exactly this. */
void require_clean_run(const struct run *run, const char *output, const char *errors);

/* "exited with 3", "was killed by signal 6": for messages, in a buffer of the function's own. */
const char *run_ending(const struct run *run);

#endif
