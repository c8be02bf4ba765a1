/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "advise.h"
#include "command.h"
#include "printable.h"
#include "library.h"

#define WEIGHT_BITS 12   /* a request counts with 4 KiB at most when the program that allocates is looked for */
#define GRACE_SECONDS 5 /* between SIGTERM and SIGKILL */

volatile sig_atomic_t pm_advise_interrupted;

static void
note_interrupt(int signal)
{
    (void)signal;
    pm_advise_interrupted = 1;
}

/* LD_PRELOAD as it is, without poolmalloc's libraries, and with `library` in front. */
static void
set_preload(const char *library)
{
    const char *list;
    pm_library_preload(library != NULL ? library : "");
    list = getenv("LD_PRELOAD");
    if (list[strspn(list, ":")] == '\0')
        unsetenv("LD_PRELOAD");
}

static _Noreturn void
become_program(const struct pm_launch *launch)
{
    int null = open("/dev/null", O_RDWR);
    if (lseek(STDIN_FILENO, 0, SEEK_SET) != 0)
        dup2(null, STDIN_FILENO);
    if (!launch->output)
        dup2(null, STDOUT_FILENO);
    if (!launch->errors)
        dup2(null, STDERR_FILENO);
    set_preload(launch->preload);
    unsetenv("POOLMALLOC_STATS");
    if (launch->directory != NULL)
        setenv(PM_RECORD_DIRECTORY, launch->directory, 1);
    signal(SIGINT, SIG_DFL);
    execvp(launch->arguments[0], launch->arguments);
    _exit(errno == ENOENT ? PM_STATUS_NOT_FOUND : PM_STATUS_NOT_EXECUTABLE);
}

/* Waits until the child ends, and ends it when its time is over. */
static void
wait_for(pid_t child, unsigned seconds, struct pm_run_result *result, struct rusage *usage)
{
    double start = pm_command_seconds();
    bool asked = false;
    for (;;) {
        pid_t ended = wait4(child, &result->status, seconds != 0 ? WNOHANG : 0, usage);
        if (ended == child)
            return;
        if (ended < 0 && errno != EINTR)
            pm_command_fail(PM_STATUS_NO_RESULT, "cannot wait for the program: %s", strerror(errno));
        double passed = pm_command_seconds() - start;
        if (seconds != 0 && passed >= seconds && !asked) {
            kill(child, SIGTERM);
            asked = true;
        } else if (seconds != 0 && passed >= seconds + GRACE_SECONDS) {
            kill(child, SIGKILL);
        }
        if (seconds != 0)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
}

void
pm_advise_launch(const struct pm_launch *launch, struct pm_run_result *result)
{
    struct sigaction action = {.sa_handler = note_interrupt};
    struct rusage usage = {0};
    sigaction(SIGINT, &action, NULL);
    fflush(stdout);
    double start = pm_command_seconds();
    pid_t child = fork();
    if (child < 0)
        pm_command_fail(PM_STATUS_NO_RESULT, "cannot start the program: %s", strerror(errno));
    if (child == 0)
        become_program(launch);
    wait_for(child, launch->seconds, result, &usage);
    result->seconds = pm_command_seconds() - start;
    result->processor_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    result->peak_bytes = (double)usage.ru_maxrss * 1024;
}

/* Everything behind the program's name is counters, but for the peak. */
static void
add_record(struct pm_record *sum, const struct pm_record *record)
{
    uint64_t peak = sum->live_bytes_peak > record->live_bytes_peak ? sum->live_bytes_peak : record->live_bytes_peak;
    const uint64_t *from = &record->threads;
    uint64_t *to = &sum->threads;
    size_t words = (sizeof *record - offsetof(struct pm_record, threads)) / sizeof *from;
    for (size_t i = 0; i < words; i++)
        to[i] += from[i];
    sum->live_bytes_peak = peak;
}

/* All programs that were seen, and which process was which program: one that executes another is both. */
struct census {
    struct pm_advise_program *programs;
    unsigned program_count, seen_count, process_count;
    struct seen {
        pid_t process;
        unsigned program;
    } *seen;
};

static unsigned
find_program(struct census *census, const char *name)
{
    for (unsigned i = 0; i < census->program_count; i++)
        if (strcmp(census->programs[i].name, name) == 0)
            return i;
    census->programs = pm_command_reallocate(census->programs, (census->program_count + 1) * sizeof *census->programs);
    struct pm_advise_program *program = &census->programs[census->program_count++];
    *program = (struct pm_advise_program){.requests = 0};
    snprintf(program->name, sizeof program->name, "%s", name);
    return census->program_count - 1;
}

static void
count_process(struct census *census, pid_t process, unsigned program)
{
    bool new_process = true, new_program = true;
    for (unsigned i = 0; i < census->seen_count; i++)
        if (census->seen[i].process == process) {
            new_process = false;
            new_program &= census->seen[i].program != program;
        }
    census->process_count += new_process;
    census->programs[program].processes += new_program;
    census->seen = pm_command_reallocate(census->seen, (census->seen_count + 1) * sizeof *census->seen);
    census->seen[census->seen_count++] = (struct seen){process, program};
}

/* Of larger requests only the length in bits is known, which is close enough. */
static uint64_t
weight_of(const struct pm_record *record)
{
    uint64_t weight = record->small.bytes;
    for (unsigned bits = 0; bits < PM_RECORD_BITS; bits++)
        weight += record->larger[bits] * (bits < WEIGHT_BITS ? UINT64_C(1) << bits : UINT64_C(1) << WEIGHT_BITS);
    return weight;
}

static void
count_record(struct census *census, const struct pm_record *record, pid_t process)
{
    unsigned number = find_program(census, record->program);
    struct pm_advise_program *program = &census->programs[number];
    uint64_t weight = weight_of(record);
    count_process(census, process, number);
    program->requests += record->small.requests + record->large.requests;
    program->bytes += record->small.bytes + record->large.bytes;
    if (weight >= program->most) {
        program->most = weight;
        program->process = process;
    }
}

static int
compare_programs(const void *left, const void *right)
{
    const struct pm_advise_program *a = left, *b = right;
    return a->most != b->most ? (a->most < b->most ? 1 : -1) : strcmp(a->name, b->name);
}

static bool
read_record(const char *path, struct pm_record *record)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool good = file >= 0 && read(file, record, sizeof *record) == (ssize_t)sizeof *record &&
                record->magic == PM_RECORD_MAGIC;
    if (file >= 0)
        close(file);
    record->program[sizeof record->program - 1] = '\0';
    pm_printable_make(record->program);
    return good;
}

/* Twice: who allocates, and then what. Without `census`, the second time, which removes the files. */
static void
read_records(struct pm_recording *recording, const char *directory, struct census *census)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;
    struct pm_record record;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        char *path = pm_command_format("%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' && read_record(path, &record)) {
            if (census != NULL)
                count_record(census, &record, (pid_t)atoi(entry->d_name));
            else if (strcmp(record.program, recording->programs[0].name) == 0)
                add_record(&recording->sum, &record);
        }
        if (entry->d_name[0] != '.' && census == NULL)
            unlink(path);
        free(path);
    }
    if (entries != NULL)
        closedir(entries);
}

static void
choose_program(struct pm_recording *recording, struct census *census)
{
    if (census->program_count > 0)
        qsort(census->programs, census->program_count, sizeof *census->programs, compare_programs);
    for (unsigned i = 0; i < census->program_count; i++) {
        recording->requests += census->programs[i].requests;
        if (i < PM_ADVISE_PROGRAMS)
            recording->programs[i] = census->programs[i];
    }
    recording->program_count = census->program_count;
    recording->processes = census->process_count;
    free(census->programs);
    free(census->seen);
}

void
pm_advise_record(struct pm_recording *recording, struct pm_launch launch)
{
    const char *temporary = getenv("TMPDIR");
    char *directory = pm_command_format("%s/poolmalloc-advise-XXXXXX", temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(directory) == NULL)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "cannot make a directory for the records, %s: %s", directory,
                        strerror(errno));
    chmod(directory, 01777); /* a program that gives up its rights goes on writing */
    launch.directory = directory;
    pm_advise_launch(&launch, &recording->run);
    struct census census = {.programs = NULL};
    read_records(recording, directory, &census);
    choose_program(recording, &census);
    read_records(recording, directory, NULL);
    rmdir(directory);
    free(directory);
    if (recording->processes == 0)
        pm_command_fail(PM_STATUS_NO_RESULT, "nothing was recorded: the recorder was not loaded into %s",
                        launch.arguments[0]);
}
