/* SPDX-License-Identifier: MIT
 *
 * What the subcommands share: the table of exit statuses, how an error is reported, and the entry points that main.c
 * finds in its table. Every error is one line on stderr that begins with "poolmalloc SUBCOMMAND: ".
 */
#ifndef PM_COMMAND_H
#define PM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/* The only table of exit statuses; `poolmalloc --help` prints it and poolmalloc(1) explains it. `run` passes the status
 * of its program through, so these are numbers that programs rarely use; the last three are those of env(1). */
#define PM_STATUS_TABLE(ROW)                                                              \
    ROW(OK, 0, "done; doctor: poolmalloc is active, or would be")                         \
    ROW(INACTIVE, 1, "doctor: poolmalloc is not active there, or would not be, or unknown") \
    ROW(NO_PROCESS, 112, "no such process, or it ended meanwhile")                        \
    ROW(NO_PERMISSION, 113, "no permission to look into the process or file")             \
    ROW(NOT_POOLMALLOC, 114, "the process does not run on poolmalloc")                    \
    ROW(OTHER_VERSION, 115, "it runs on a version of poolmalloc that this one cannot read") \
    ROW(BAD_CORE, 116, "not a core file, or a truncated or damaged one")                  \
    ROW(NOT_PRELOADABLE, 117, "the program cannot be preloaded")                          \
    ROW(NO_LIBRARY, 118, "the library to preload is not where it should be")              \
    ROW(NO_OUTPUT, 119, "the output cannot be written")                                   \
    ROW(NO_RESULT, 120, "advise: the program failed, or nothing was recorded")            \
    ROW(USAGE, 125, "wrong usage")                                                        \
    ROW(NOT_EXECUTABLE, 126, "the program cannot be executed")                            \
    ROW(NOT_FOUND, 127, "there is no such program")

#define PM_STATUS_NAME(name, number, text) PM_STATUS_##name = number,
enum pm_status { PM_STATUS_TABLE(PM_STATUS_NAME) };
#undef PM_STATUS_NAME

/* What subcommand is running, for messages. */
extern const char *pm_command_name;

/* One line on stderr, and the end. */
_Noreturn void pm_command_fail(enum pm_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As above, for wrong usage: also says where help is. */
_Noreturn void pm_command_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line on stderr; the program goes on. */
void pm_command_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For the answers '?' and ':' of getopt_long, with a short-option string that begins with "+:" or ":". What every
 * subcommand has, -h, -V and --version, is done here; all else ends with a line that names the option. */
_Noreturn void pm_command_bad_option(int answer, char **arguments);

/* Prints a help text and ends. */
_Noreturn void pm_command_help(const char *text);

/* Everything printed on stdout arrived: else ends with PM_STATUS_NO_OUTPUT. */
void pm_command_finish_output(void);

/* A number from `low` to `high`, all of `string`; ends with a line that names `what` otherwise. */
unsigned long pm_command_number(const char *what, const char *string, unsigned long low, unsigned long high);

/* Of a clock that only goes forward. */
double pm_command_seconds(void);

/* Memory, or the end. */
void *pm_command_allocate(size_t size);
void *pm_command_reallocate(void *block, size_t size);
char *pm_command_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

int pm_run_main(int count, char **arguments);
int pm_stat_main(int count, char **arguments);
int pm_map_main(int count, char **arguments);
int pm_advise_main(int count, char **arguments);
int pm_doctor_main(int count, char **arguments);

#endif
