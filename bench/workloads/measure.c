/* SPDX-License-Identifier: MIT
 *
 * measure: runs one command under a preloaded library and writes what it cost as one line of JSON.
 *
 * The runner starts every measured process through this small program for three reasons: the kernel carries the peak
 * resident size of a process over fork and exec, so a child of a large Python process would never show less than that
 * process; the wall time is taken right around the child; and only the child, not the helper, sees the library.
 *
 *     measure --output FILE [--timeout SECONDS] [--preload LIST] [--trace PREFIX] [--] COMMAND [ARGUMENTS]
 *
 * --trace makes the dynamic linker write which object's malloc each object is bound to, into PREFIX.PID per process.
 * The child runs in a process group of its own, which is killed as a whole when the time is over. Exits with 0 when the
 * command could be run, however it ended. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t child, timed_out;

static void fail(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void kill_child(int signal_number)
{
    timed_out = signal_number == SIGALRM;
    if (child > 0)
        kill(-(pid_t)child, SIGKILL);
    if (signal_number != SIGALRM)
        _exit(128 + signal_number);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static void run_child(char **command, const char *preload, const char *trace)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (preload != NULL && setenv("LD_PRELOAD", preload, 1) != 0)
        fail("LD_PRELOAD");
    if (trace != NULL && (setenv("LD_DEBUG", "bindings", 1) != 0 || setenv("LD_DEBUG_OUTPUT", trace, 1) != 0))
        fail("LD_DEBUG");
    execvp(command[0], command);
    fprintf(stderr, "measure: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

static void write_result(const char *path, int status, double wall, const struct rusage *usage)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fail(path);
    fprintf(file,
            "{\"exit\": %d, \"signal\": %d, \"timed_out\": %s, \"wall\": %.9f, \"user\": %.6f, \"system\": %.6f, "
            "\"peak_rss\": %lld, \"minor_faults\": %ld, \"major_faults\": %ld, \"switches\": %ld}\n",
            WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
            timed_out ? "true" : "false", wall, seconds(usage->ru_utime), seconds(usage->ru_stime),
            (long long)usage->ru_maxrss * 1024, usage->ru_minflt, usage->ru_majflt, usage->ru_nivcsw);
    if (fclose(file) != 0)
        fail(path);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"timeout", required_argument, NULL, 't'},
        {"preload", required_argument, NULL, 'p'},
        {"trace", required_argument, NULL, 'd'},
        {0},
    };
    const char *output = NULL, *preload = NULL, *trace = NULL;
    unsigned timeout = 0;
    for (int found; (found = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (found == 'o')
            output = optarg;
        else if (found == 't')
            timeout = (unsigned)strtoul(optarg, NULL, 10);
        else if (found == 'p')
            preload = optarg;
        else if (found == 'd')
            trace = optarg;
        else
            return 2;
    }
    if (output == NULL || optind == argc) {
        fprintf(stderr, "usage: measure --output FILE [--timeout SECONDS] [--preload LIST] [--trace PREFIX] COMMAND\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGALRM, kill_child);
    signal(SIGTERM, kill_child);
    signal(SIGINT, kill_child);

    int status;
    struct rusage usage;
    double start = now();
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0)
        run_child(argv + optind, preload, trace);
    setpgid(pid, pid);
    child = (sig_atomic_t)pid;
    alarm(timeout);
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            fail("wait4");
    double wall = now() - start;
    kill(-pid, SIGKILL); /* whatever the command left behind must not disturb the next one */
    write_result(output, status, wall, &usage);
    return 0;
}
