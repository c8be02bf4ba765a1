/* SPDX-License-Identifier: MIT
 *
 * poolmalloc stat --watch. It reads what it needs for its rows, and the resident size from /proc/PID/statm: the account
 * of a full dump makes the kernel walk the whole address space, which the process would feel.
 *
 * Rates are of blocks that move between pools and magazines; the calls in between, which magazines serve alone, are
 * counted nowhere. A difference of two snapshots can never be negative but where a thread's counts were read while they
 * moved; then it is shown as 0.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "stat.h"
#include "terminal.h"

#define HEADING_LINES 9 /* of the display, above the rows of classes */

struct sample {
    double time;
    struct pm_class_counts counts[PM_CLASS_LAST + 1], sum;
    uint64_t system_allocations;
};

static volatile sig_atomic_t stopped;

static void
note_stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static size_t
resident_bytes(pid_t pid)
{
    char name[64];
    unsigned long pages = 0;
    snprintf(name, sizeof name, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(name, "re");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void
take_sample(struct sample *sample, const struct pm_view *view)
{
    sample->time = pm_command_seconds();
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        sample->counts[class] = view->snapshot.classes[class].counts;
    sample->sum = view->sums.counts;
    sample->system_allocations = view->sums.system_allocations;
}

static uint64_t
rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before && seconds > 0 ? (uint64_t)((double)(now - before) / seconds + 0.5) : 0;
}

/* ---- On a terminal ---- */

static void
print_totals(const struct pm_source *source, const struct pm_view *view, const struct sample *now,
             const struct sample *before)
{
    const struct pm_snapshot *snapshot = &view->snapshot;
    const struct pm_sums *sums = &view->sums;
    char a[16], b[16], c[16], d[16];
    double passed = now->time - before->time;
    printf("poolmalloc %s, process %d (%s)\033[K\n\033[K\n", snapshot->version, (int)source->target.pid,
           source->target.name);
    printf("memory   %10s resident %10s live blocks %9s free blocks %10s magazines\033[K\n",
           pm_terminal_bytes(resident_bytes(source->target.pid), a), pm_terminal_bytes(sums->live_bytes, b),
           pm_terminal_bytes(sums->free_bytes, c), pm_terminal_bytes(sums->magazine_bytes, d));
    printf("pools    %10s in use   %10s reserved    %9s free, kept   %9s given back\033[K\n",
           pm_terminal_count(sums->pools[PM_POOL_ASSIGNED], a), pm_terminal_count(sums->pools[PM_POOL_RESERVED], b),
           pm_terminal_count(sums->pools[PM_POOL_FREE_DIRTY], c), pm_terminal_count(sums->pools[PM_POOL_FREE], d));
    printf("heaps    %10zu         %10zu parked      %9zu arenas      %10s peak\033[K\n", snapshot->heaps,
           snapshot->heaps_parked, snapshot->arenas, pm_terminal_count(snapshot->counts.arenas_peak, a));
    printf("a second %10s refilled %10s flushed     %9s by others   %9s to system\033[K\n\033[K\n",
           pm_terminal_count(rate(now->sum.refilled, before->sum.refilled, passed), a),
           pm_terminal_count(rate(now->sum.flushed, before->sum.flushed, passed), b),
           pm_terminal_count(rate(now->sum.flushed_remote, before->sum.flushed_remote, passed), c),
           pm_terminal_count(rate(now->system_allocations, before->system_allocations, passed), d));
}

struct row {
    unsigned class;
    uint64_t refilled, flushed, remote;
    size_t bytes;
};

/* The busiest first; among idle ones those that hold most. */
static int
compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    uint64_t moved_a = a->refilled + a->flushed, moved_b = b->refilled + b->flushed;
    if (moved_a != moved_b)
        return moved_a < moved_b ? 1 : -1;
    return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : (int)a->class - (int)b->class;
}

static void
print_classes(const struct pm_view *view, const struct sample *now, const struct sample *before, unsigned most)
{
    struct row rows[PM_CLASS_LAST];
    unsigned count = 0;
    double passed = now->time - before->time;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_row *row = &view->snapshot.classes[class];
        const struct pm_class_counts *to = &now->counts[class], *from = &before->counts[class];
        if (row->pools != 0)
            rows[count++] = (struct row){class, rate(to->refilled, from->refilled, passed),
                                         rate(to->flushed, from->flushed, passed),
                                         rate(to->flushed_remote, from->flushed_remote, passed), row->pools};
    }
    qsort(rows, count, sizeof rows[0], compare_rows);
    fputs("\033[7mbytes    pools      in use        free   magazines  full   refilled/s  flushed/s   others/s "
          "\033[0m\033[K\n",
          stdout);
    for (unsigned i = 0; i < count && i < most; i++) {
        const struct pm_class_row *row = &view->snapshot.classes[rows[i].class];
        char a[16], b[16], c[16];
        printf("%5zu %8zu %11zu %11zu %11zu  %3.0f%%   %10s %10s %10s\033[K\n", row->block_bytes, row->pools,
               row->blocks_in_use, row->blocks_free, row->blocks_magazine,
               100.0 * (double)row->blocks_in_use / (double)(row->pools * pm_class_blocks(rows[i].class)),
               pm_terminal_count(rows[i].refilled, a), pm_terminal_count(rows[i].flushed, b),
               pm_terminal_count(rows[i].remote, c));
    }
    fputs("\033[J", stdout);
}

/* ---- Elsewhere ---- */

static void
print_line(const struct pm_source *source, const struct pm_view *view, const struct sample *now,
           const struct sample *before, bool first)
{
    double passed = now->time - before->time;
    if (first)
        puts("    resident         live         free    magazines    pools  refilled/s   flushed/s    others/s    "
             "system/s");
    printf("%12zu %12zu %12zu %12zu %8zu %11lu %11lu %11lu %11lu\n", resident_bytes(source->target.pid),
           view->sums.live_bytes, view->sums.free_bytes, view->sums.magazine_bytes, view->sums.pools[PM_POOL_ASSIGNED],
           rate(now->sum.refilled, before->sum.refilled, passed), rate(now->sum.flushed, before->sum.flushed, passed),
           rate(now->sum.flushed_remote, before->sum.flushed_remote, passed),
           rate(now->system_allocations, before->system_allocations, passed));
}

void
pm_stat_watch(struct pm_source *source, double seconds, unsigned long count)
{
    struct sigaction action = {.sa_handler = note_stop};
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    struct sample now = {0}, before;
    struct pm_view *view = NULL;
    bool screen = pm_terminal_is();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* The first display has no rates yet. */
    for (unsigned long time = 1; !stopped; time++) {
        view = pm_stat_take(source, &source->reader, view);
        before = now;
        take_sample(&now, view);
        if (time == 1)
            before = now;
        if (screen) {
            unsigned height = pm_terminal_height();
            fputs(time == 1 ? "\033[2J\033[H" : "\033[H", stdout);
            print_totals(source, view, &now, &before);
            print_classes(view, &now, &before, height > HEADING_LINES ? height - HEADING_LINES : 1);
        } else {
            print_line(source, view, &now, &before, time == 1);
        }
        pm_command_finish_output();
        if (time == count)
            break;
        nanosleep(&pause, NULL);
    }
    pm_view_destroy(view);
}
