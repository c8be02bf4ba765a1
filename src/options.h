/* SPDX-License-Identifier: MIT
 *
 * The environment: one table of options, from which the variables are read, checked and explained. Read once, when the
 * library starts. A mistake is one line on stderr and the default: a preloaded library does not stop a program over a
 * typing error. A program that runs with more rights than its caller (setuid, setgid, file capabilities) has no options:
 * its environment is the caller's. Layer 1: uses os.h, text.h and geometry.h.
 */
#ifndef PM_OPTIONS_H
#define PM_OPTIONS_H

#include <stddef.h>

#define PM_OPTION_PATH_MAX 1024

/* POOLMALLOC_STATS, in the order of its values in options.c. */
enum pm_stats_choice { PM_STATS_OFF, PM_STATS_ON, PM_STATS_TEXT, PM_STATS_JSON };

struct pm_options {
    size_t alignment;
    size_t check;
    size_t region;
    size_t purge; /* enum pm_purge_policy */
    size_t purge_thread;
    size_t huge_pages;
    size_t deepbind;
    size_t stats;        /* enum pm_stats_choice */
    size_t stats_signal; /* 0 when not set */
    char stats_file[PM_OPTION_PATH_MAX]; /* empty when not set */
};

extern struct pm_options pm_options;

/* Sets every option, from the environment or to its default; in a privileged process to its default. `environment` is a
 * NULL-terminated array of NAME=value, or NULL. */
void pm_options_read(char *const *environment);

/* Writes the table with its defaults and the values in force. */
void pm_options_print(int fd);

#endif
