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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "screen.h"
#include "stat.h"
#include "terminal.h"

#define TEXT 1024        /* bytes of a line; what is cut off by that would not fit a terminal either */
#define CELLS 4          /* in a row of totals */
#define VALUE 8          /* columns of "1023 KiB" */
#define ROWS_WANTED 4    /* of size classes, before totals give way to them */

struct sample {
    double time;
    struct pm_class_counts counts[PM_CLASS_LAST + 1], sum;
    uint64_t system_allocations;
};

/* A line that grows. */
struct text {
    char bytes[TEXT];
    size_t size;
};

static void __attribute__((format(printf, 2, 3)))
add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->size, TEXT - text->size, format, arguments);
    va_end(arguments);
    text->size += size > 0 ? (size_t)size : 0;
    text->size = text->size < TEXT ? text->size : TEXT - 1;
}

/* Right-aligned in `width` columns, exact if it fits; with a unit otherwise. */
static void
add_number(struct text *text, unsigned width, uint64_t number)
{
    char exact[24], rounded[16];
    int size = snprintf(exact, sizeof exact, "%lu", number);
    add(text, "%*s", (int)width, (unsigned)size <= width ? exact : pm_terminal_count(number, rounded));
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

/* ---- Columns ---- */

struct column {
    const char *heading;
    unsigned width;
    unsigned rank; /* the highest goes first where there is no room for all */
};

/* Marks what fits, a blank between each two, and returns how many blanks more fit there. */
static unsigned
choose_columns(const struct column *columns, unsigned count, unsigned width, bool *shown)
{
    unsigned needed = 0, left = count;
    for (unsigned i = 0; i < count; i++) {
        shown[i] = true;
        needed += columns[i].width + 1;
    }
    while (needed - 1 > width && left > 1) {
        unsigned worst = count;
        for (unsigned i = 0; i < count; i++)
            if (shown[i] && (worst == count || columns[i].rank > columns[worst].rank))
                worst = i;
        shown[worst] = false;
        needed -= columns[worst].width + 1;
        left--;
    }
    unsigned spare = width > needed && left > 1 ? (width - needed) / (left - 1) : 0;
    return spare < 2 ? spare : 2;
}

static void
add_headings(struct text *text, const struct column *columns, unsigned count, const bool *shown, unsigned spare)
{
    for (unsigned i = 0; i < count; i++)
        if (shown[i])
            add(text, "%*s", (int)(columns[i].width + (text->size > 0 ? spare + 1 : 0)), columns[i].heading);
}

/* ---- On a terminal: totals ---- */

enum total { MEMORY, POOLS, HEAPS, RATES, TOTALS };

/* A row of totals: its name, and CELLS values with what they are; each also in a shorter form. */
struct totals {
    const char *name[2];
    const char *label[2][CELLS];
    char value[CELLS][16];
};

static const struct totals totals_table[TOTALS] = {
    [MEMORY] = {{"memory", "mem"},
                {{"resident", "live blocks", "free blocks", "magazines"}, {"resident", "live", "free", "magazines"}},
                {""}},
    [POOLS] = {{"pools", "pool"},
               {{"in use", "reserved", "free, kept", "given back"}, {"in use", "reserved", "kept", "returned"}},
               {""}},
    [HEAPS] = {{"heaps", "heap"},
               {{"in use", "parked", "arenas", "peak"}, {"in use", "parked", "arenas", "peak"}},
               {""}},
    [RATES] = {{"a second", "/s"},
               {{"refilled", "flushed", "by others", "to system"}, {"refilled", "flushed", "by others", "to system"}},
               {""}},
};

static void
fill_totals(struct totals *totals, const struct pm_source *source, const struct pm_view *view,
            const struct sample *now, const struct sample *before)
{
    const struct pm_snapshot *snapshot = &view->snapshot;
    const struct pm_sums *sums = &view->sums;
    double passed = now->time - before->time;
    memcpy(totals, totals_table, sizeof totals_table);
    pm_terminal_bytes(resident_bytes(source->target.pid), totals[MEMORY].value[0]);
    pm_terminal_bytes(sums->live_bytes, totals[MEMORY].value[1]);
    pm_terminal_bytes(sums->free_bytes, totals[MEMORY].value[2]);
    pm_terminal_bytes(sums->magazine_bytes, totals[MEMORY].value[3]);
    pm_terminal_count(sums->pools[PM_POOL_ASSIGNED], totals[POOLS].value[0]);
    pm_terminal_count(sums->pools[PM_POOL_RESERVED], totals[POOLS].value[1]);
    pm_terminal_count(sums->pools[PM_POOL_FREE_DIRTY], totals[POOLS].value[2]);
    pm_terminal_count(sums->pools[PM_POOL_FREE], totals[POOLS].value[3]);
    pm_terminal_count(snapshot->heaps - snapshot->heaps_parked, totals[HEAPS].value[0]);
    pm_terminal_count(snapshot->heaps_parked, totals[HEAPS].value[1]);
    pm_terminal_count(snapshot->arenas, totals[HEAPS].value[2]);
    pm_terminal_count(snapshot->counts.arenas_peak, totals[HEAPS].value[3]);
    const uint64_t rates[CELLS] = {rate(now->sum.refilled, before->sum.refilled, passed),
                                   rate(now->sum.flushed, before->sum.flushed, passed),
                                   rate(now->sum.flushed_remote, before->sum.flushed_remote, passed),
                                   rate(now->system_allocations, before->system_allocations, passed)};
    for (unsigned i = 0; i < CELLS; i++)
        if (passed > 0)
            pm_terminal_count(rates[i], totals[RATES].value[i]);
        else
            strcpy(totals[RATES].value[i], "-"); /* the first display has no rates yet */
}

/* The columns that the names of the rows, or the labels in one place of all rows, take. */
static unsigned
widest(const struct totals *totals, int cell, bool brief)
{
    unsigned most = 0;
    for (unsigned i = 0; i < TOTALS; i++) {
        size_t length = strlen(cell < 0 ? totals[i].name[brief] : totals[i].label[brief][cell]);
        most = length > most ? (unsigned)length : most;
    }
    return most;
}

static void
add_total(struct text *text, const struct totals *totals, const struct totals *row, bool brief, unsigned width)
{
    unsigned column = widest(totals, -1, brief);
    add(text, "%-*s", (int)column, row->name[brief]);
    for (int i = 0; i < CELLS; i++) {
        unsigned label = widest(totals, i, brief);
        column += 1 + VALUE + 1 + label;
        if (i > 0 && column > width)
            return;
        add(text, " %*s %-*s", VALUE, row->value[i], (int)label, row->label[brief][i]);
    }
}

static void
paint_totals(const struct totals *totals, unsigned width, unsigned lines)
{
    /* With few lines the memory and the rates stay longest. */
    static const unsigned needed[TOTALS] = {[MEMORY] = 1, [RATES] = 2, [POOLS] = 3, [HEAPS] = 4};
    unsigned full = widest(totals, -1, false);
    for (int i = 0; i < CELLS; i++)
        full += 1 + VALUE + 1 + widest(totals, i, false);
    for (unsigned i = 0; i < TOTALS; i++) {
        struct text text = {.size = 0};
        add_total(&text, totals, &totals[i], full > width, width);
        if (lines >= needed[i])
            pm_screen_line(false, text.bytes);
    }
}

/* ---- On a terminal: size classes ---- */

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

static unsigned
fill_rows(struct row *rows, const struct pm_view *view, const struct sample *now, const struct sample *before)
{
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
    return count;
}

enum { BYTES, CLASS_POOLS, IN_USE, FREE, MAGAZINES, FULL, REFILLED, FLUSHED, REMOTE, CLASS_COLUMNS };

/* Together 80 columns. */
static const struct column class_columns[CLASS_COLUMNS] = {
    [BYTES] = {"bytes", 5, 0},          [CLASS_POOLS] = {"pools", 7, 6},   [IN_USE] = {"in use", 10, 1},
    [FREE] = {"free", 10, 5},           [MAGAZINES] = {"magazines", 9, 7}, [FULL] = {"full", 4, 3},
    [REFILLED] = {"refilled/s", 10, 2}, [FLUSHED] = {"flushed/s", 9, 4},   [REMOTE] = {"others/s", 8, 8},
};

static void
add_class(struct text *text, const struct pm_class_row *row, const struct row *moved, const bool *shown, unsigned spare,
          bool rates)
{
    const uint64_t numbers[CLASS_COLUMNS] = {
        [BYTES] = row->block_bytes,    [CLASS_POOLS] = row->pools,           [IN_USE] = row->blocks_in_use,
        [FREE] = row->blocks_free,     [MAGAZINES] = row->blocks_magazine,   [REFILLED] = moved->refilled,
        [FLUSHED] = moved->flushed,    [REMOTE] = moved->remote,
    };
    double blocks = (double)(row->pools * pm_class_blocks(moved->class));
    for (unsigned i = 0; i < CLASS_COLUMNS; i++) {
        char rounded[16];
        unsigned width = class_columns[i].width + (text->size > 0 ? spare + 1 : 0);
        if (!shown[i])
            continue;
        if (i == FULL)
            add(text, "%*.0f%%", (int)width - 1, 100.0 * (double)row->blocks_in_use / blocks);
        else if (i < FULL)
            add_number(text, width, numbers[i]);
        else
            add(text, "%*s", (int)width, rates ? pm_terminal_count(numbers[i], rounded) : "-");
    }
}

static void
paint_classes(const struct pm_view *view, const struct sample *now, const struct sample *before, unsigned width,
              unsigned lines)
{
    struct row rows[PM_CLASS_LAST];
    struct text heading = {.size = 0};
    bool shown[CLASS_COLUMNS];
    unsigned count = fill_rows(rows, view, now, before);
    unsigned spare = choose_columns(class_columns, CLASS_COLUMNS, width, shown);
    add_headings(&heading, class_columns, CLASS_COLUMNS, shown, spare);
    pm_screen_line(true, heading.bytes);
    lines -= lines > 0;
    unsigned fitting = count <= lines ? count : lines > 0 ? lines - 1 : 0;
    for (unsigned i = 0; i < fitting; i++) {
        struct text text = {.size = 0};
        add_class(&text, &view->snapshot.classes[rows[i].class], &rows[i], shown, spare, now->time > before->time);
        pm_screen_line(false, text.bytes);
    }
    if (fitting < count) {
        struct text text = {.size = 0};
        add(&text, "%s %u more", pm_terminal_unicode() ? "\xe2\x80\xa6" : "...", count - fitting);
        pm_screen_line(false, text.bytes);
    }
}

/* ---- On a terminal: all of it ---- */

static void
paint_title(const struct pm_source *source, const struct pm_view *view, unsigned width)
{
    struct text text = {.size = 0};
    add(&text, "poolmalloc %s, process %d (", view->snapshot.version, (int)source->target.pid);
    for (const char *name = source->target.name; *name != '\0'; name++) /* a process names itself as it likes */
        add(&text, "%c", *name >= ' ' && *name <= '~' ? *name : '?');
    add(&text, ")");
    static const char keys[] = "q quits";
    if (pm_screen_has_keys() && text.size + 2 + strlen(keys) <= width)
        add(&text, "%*s", (int)(width - text.size), keys);
    pm_screen_line(false, text.bytes);
}

static void
paint(const struct pm_source *source, const struct pm_view *view, const struct sample *now, const struct sample *before)
{
    struct totals totals[TOTALS];
    unsigned width = pm_screen_width(), height = pm_screen_height();
    unsigned fixed = 1 + 1 + ROWS_WANTED; /* title, heading, rows */
    unsigned total_lines = height > fixed ? height - fixed : 1;
    total_lines = total_lines < TOTALS ? total_lines : TOTALS;
    bool airy = height >= fixed + TOTALS + 2;
    fill_totals(totals, source, view, now, before);
    pm_screen_begin();
    paint_title(source, view, width);
    if (airy)
        pm_screen_line(false, "");
    paint_totals(totals, width, total_lines);
    if (airy)
        pm_screen_line(false, "");
    unsigned above = 1 + total_lines + (airy ? 2 : 0);
    paint_classes(view, now, before, width, height > above ? height - above : 0);
    pm_screen_show();
}

/* ---- Elsewhere ---- */

#define LINE_COLUMNS 9

static const struct column line_columns[LINE_COLUMNS] = {
    {"resident", 12, 0}, {"live", 12, 1},       {"free", 12, 4},      {"magazines", 12, 5}, {"pools", 8, 6},
    {"refilled/s", 11, 2}, {"flushed/s", 11, 3}, {"others/s", 11, 8}, {"system/s", 11, 7},
};

/* A line of whole numbers for programs to read; on a terminal without a cursor as many of them as fit, and the headings
 * again for each screen. */
static void
print_line(const struct pm_source *source, const struct pm_view *view, const struct sample *now,
           const struct sample *before, unsigned long time)
{
    double passed = now->time - before->time;
    const uint64_t numbers[LINE_COLUMNS] = {resident_bytes(source->target.pid),
                                            view->sums.live_bytes,
                                            view->sums.free_bytes,
                                            view->sums.magazine_bytes,
                                            view->sums.pools[PM_POOL_ASSIGNED],
                                            rate(now->sum.refilled, before->sum.refilled, passed),
                                            rate(now->sum.flushed, before->sum.flushed, passed),
                                            rate(now->sum.flushed_remote, before->sum.flushed_remote, passed),
                                            rate(now->system_allocations, before->system_allocations, passed)};
    struct text heading = {.size = 0}, text = {.size = 0};
    bool shown[LINE_COLUMNS], terminal = pm_terminal_is();
    choose_columns(line_columns, LINE_COLUMNS, terminal ? pm_screen_width() : TEXT, shown);
    unsigned every = terminal && pm_screen_height() > 2 ? pm_screen_height() - 1 : 0;
    add_headings(&heading, line_columns, LINE_COLUMNS, shown, 0);
    if (time == 1 || (every > 0 && time % every == 1))
        puts(heading.bytes);
    for (unsigned i = 0; i < LINE_COLUMNS; i++)
        if (shown[i])
            add(&text, "%*lu", (int)line_columns[i].width + (text.size > 0), numbers[i]);
    puts(text.bytes);
    pm_command_finish_output();
}

/* A file that can be read when the process has ended, so that this is not seen an interval later; -1 when the kernel
 * has none. */
static int
open_end_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

void
pm_stat_watch(struct pm_source *source, double seconds, unsigned long count)
{
    struct sample now = {0}, before;
    struct pm_view *view = NULL;
    enum pm_screen_event event = PM_SCREEN_TIME;
    bool screen = pm_terminal_cursor();
    int process = open_end_of(source->target.pid);
    pm_screen_catch_signals();
    for (unsigned long time = 1;; time++) {
        view = pm_stat_take(source, &source->reader, view);
        before = now;
        take_sample(&now, view);
        if (time == 1)
            before = now;
        if (screen && time == 1)
            pm_screen_open();
        if (!screen)
            print_line(source, view, &now, &before, time);
        do {
            if (screen)
                paint(source, view, &now, &before);
            if (time == count)
                break;
            event = pm_screen_wait(now.time + seconds, process);
        } while (event == PM_SCREEN_PAINT);
        if (event == PM_SCREEN_QUIT || time == count)
            break;
    }
    pm_screen_close();
    if (process >= 0)
        close(process);
    pm_view_destroy(view);
}
