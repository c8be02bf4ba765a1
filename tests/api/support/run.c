/* SPDX-License-Identifier: MIT
 *
 * Running other programs: see run.h.
 */
#include "run.h"

#include "check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void
forget_settings(void)
{
    for (char **variable = environ; *variable != NULL;) {
        if (strncmp(*variable, "POOLMALLOC_", strlen("POOLMALLOC_")) != 0) {
            variable++;
            continue;
        }
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*variable, "="), *variable);
        unsetenv(name);
    }
    unsetenv("LD_PRELOAD");
}

/* The child's part: never returns. The alarm outlives exec. */
static void
become_program(const struct run *run, int output, int errors)
{
    static const struct rlimit no_core = {0, 0};
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    forget_settings();
    for (const char *const *setting = run->environment; setting != NULL && *setting != NULL; setting++)
        putenv((char *)*setting);
    alarm(run->seconds != 0 ? run->seconds : 60);
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < run->limit_count; i++) {
        struct rlimit limit = {run->limits[i].value, run->limits[i].value};
        setrlimit((__rlimit_resource_t)run->limits[i].resource, &limit);
    }
    execv(run->command[0], (char *const *)run->command);
    _exit(126);
}

/* Reads both pipes to their ends; what does not fit is dropped. */
static void
collect(struct run *run, const int *pipes)
{
    struct pollfd polls[2] = {{pipes[0], POLLIN, 0}, {pipes[1], POLLIN, 0}};
    char *texts[2] = {run->output, run->errors};
    size_t used[2] = {0, 0};
    for (int open = 2; open > 0;) {
        REQUIRE(poll(polls, 2, -1) > 0, "poll");
        for (int i = 0; i < 2; i++) {
            char bytes[4096];
            ssize_t got = polls[i].revents != 0 ? read(polls[i].fd, bytes, sizeof bytes) : -1;
            if (got > 0) {
                size_t room = RUN_TEXT - 1 - used[i];
                size_t kept = (size_t)got < room ? (size_t)got : room;
                memcpy(texts[i] + used[i], bytes, kept);
                used[i] += kept;
            } else if (got == 0) {
                close(polls[i].fd);
                polls[i].fd = -1;
                open--;
            }
        }
    }
    run->output[used[0]] = '\0';
    run->errors[used[1]] = '\0';
}

void
run_program(struct run *run)
{
    int output[2];
    int errors[2];
    REQUIRE(pipe(output) == 0 && pipe(errors) == 0, "no pipes");
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        close(output[0]);
        close(errors[0]);
        become_program(run, output[1], errors[1]);
    }
    close(output[1]);
    close(errors[1]);
    collect(run, (int[]){output[0], errors[0]});
    REQUIRE(waitpid(child, &run->status, 0) == child, "waitpid");
}

const char *
run_ending(const struct run *run)
{
    static char text[64];
    if (WIFEXITED(run->status))
        snprintf(text, sizeof text, "exited with %d", WEXITSTATUS(run->status));
    else
        snprintf(text, sizeof text, "was killed by signal %d", WTERMSIG(run->status));
    return text;
}

void
require_clean_run(const struct run *run, const char *output, const char *errors)
{
    const char *name = run->command[1] != NULL ? run->command[1] : run->command[0];
    REQUIRE(WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0, "%s %s; it wrote: %.200s%.600s", name,
            run_ending(run), run->output, run->errors);
    REQUIRE(strcmp(run->output, output) == 0, "%s wrote: %.300s instead of: %.300s", name, run->output, output);
    REQUIRE(strcmp(run->errors, errors) == 0, "%s wrote on stderr: %.300s instead of: %.300s", name, run->errors,
            errors);
}
