/* SPDX-License-Identifier: MIT
 *
 * The parts of poolmalloc stat: one dump, or a display that is renewed.
 */
#ifndef PM_STAT_H
#define PM_STAT_H

#include "dump.h"
#include "source.h"

/* A snapshot with its sums, for as many rows as there are; ends the command when it cannot be had. `view` is NULL or
 * that of the call before. */
struct pm_view *pm_stat_take(struct pm_source *source, const struct pm_reader *reader, struct pm_view *view);

/* Renews the display every `seconds`, `count` times, or when `count` is 0 until the process ends, the user presses q,
 * or SIGINT comes. On a terminal with a cursor the screen, elsewhere a line each time. */
void pm_stat_watch(struct pm_source *source, double seconds, unsigned long count);

#endif
