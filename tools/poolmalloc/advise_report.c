/* SPDX-License-Identifier: MIT
 *
 * What poolmalloc advise prints of what it has recorded and measured: requests, the histogram of sizes, lifetimes, time
 * and memory. The advice itself is advise_verdict.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advise.h"
#include "terminal.h"

#define BUCKETS_MAX 96
#define LABEL_COLUMNS 22
#define LINEAR_STEP 16

struct bucket {
    uint64_t low, high, requests;
};

static double
percent(uint64_t part, uint64_t whole)
{
    return whole != 0 ? 100.0 * (double)part / (double)whole : 0;
}

static unsigned
fill_buckets(const struct pm_record *record, bool linear, struct bucket *buckets)
{
    unsigned count = 0;
    for (uint64_t low = 0; low <= PM_SMALL_MAX;) {
        uint64_t high = linear ? (low == 0 ? LINEAR_STEP : low + LINEAR_STEP - 1) : low < 8 ? 8 : 2 * (low - 1);
        struct bucket *bucket = &buckets[count++];
        *bucket = (struct bucket){low, high, 0};
        for (uint64_t size = low; size <= high; size++)
            bucket->requests += record->sizes[size];
        low = high + 1;
    }
    for (unsigned bits = 10; bits < PM_RECORD_BITS - 1; bits++)
        if (record->larger[bits] != 0)
            buckets[count++] = (struct bucket){bits == 10 ? PM_SMALL_MAX + 1 : UINT64_C(1) << (bits - 1),
                                               (UINT64_C(1) << bits) - 1, record->larger[bits]};
    return count;
}

static void
print_histogram(const struct pm_record *record, bool linear)
{
    struct bucket buckets[BUCKETS_MAX];
    unsigned count = fill_buckets(record, linear, buckets);
    uint64_t most = 1, all = record->small.requests + record->large.requests;
    for (unsigned i = 0; i < count; i++)
        if (buckets[i].requests > most)
            most = buckets[i].requests;
    unsigned width = pm_terminal_width() < 100 ? pm_terminal_width() : 100;
    unsigned columns = width > LABEL_COLUMNS + 30 ? width - LABEL_COLUMNS - 20 : 10;
    if (all == 0)
        return;
    printf("\n%*s  %8s\n", LABEL_COLUMNS, "size in bytes", "requests");
    for (unsigned i = 0; i < count; i++) {
        char label[64], number[16];
        snprintf(label, sizeof label, "%lu to %lu", buckets[i].low, buckets[i].high);
        if (buckets[i].low == PM_SMALL_MAX + 1 ||
            (i > 0 && buckets[i - 1].low <= PM_SMALL_MAX && buckets[i].low > PM_SMALL_MAX))
            printf("%*s  - - -  above: the system allocator\n", LABEL_COLUMNS, "");
        uint64_t eighths = buckets[i].requests * columns * 8 / most;
        printf("%*s  %8s  ", LABEL_COLUMNS, label, pm_terminal_count(buckets[i].requests, number));
        pm_terminal_bar(eighths == 0 && buckets[i].requests > 0 ? 1 : (unsigned)eighths, columns);
        printf(" %5.1f%%\n", percent(buckets[i].requests, all));
    }
}

/* The upper bound of the bucket in which the share `part` of all is reached. */
static uint64_t
quantile(const uint64_t *buckets, double part)
{
    uint64_t all = 0, sum = 0;
    for (unsigned i = 0; i < PM_RECORD_BITS; i++)
        all += buckets[i];
    for (unsigned i = 0; i < PM_RECORD_BITS; i++) {
        sum += buckets[i];
        if ((double)sum >= part * (double)all)
            return UINT64_C(1) << i;
    }
    return UINT64_MAX;
}

static const char *
duration(uint64_t nanoseconds, char buffer[16])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)nanoseconds;
    unsigned unit = 0;
    for (; value >= 1000 && unit < 3; unit++)
        value /= 1000;
    snprintf(buffer, 16, "%.3g %s", value, units[unit]);
    return buffer;
}

static void
print_lifetimes(const struct pm_record_blocks *blocks)
{
    static const struct {
        const char *name;
        double part;
    } shares[] = {{"half of them", 0.5}, {"9 in 10", 0.9}, {"99 in 100", 0.99}};
    if (blocks->frees == 0)
        return;
    puts("\nHow long blocks of up to 512 bytes live, until they are freed (upper bounds, powers of two)");
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        char requests[16], bytes[16], time[16];
        printf("  %-14s %8s requests   %8s allocated   %8s\n", shares[i].name,
               pm_terminal_count(quantile(blocks->age_requests, shares[i].part), requests),
               pm_terminal_bytes(quantile(blocks->age_bytes, shares[i].part), bytes),
               duration(quantile(blocks->age_nanoseconds, shares[i].part), time));
    }
    uint64_t freed = blocks->frees < blocks->requests ? blocks->frees : blocks->requests;
    printf("  %.1f%% are never freed; %.1f%% of the frees come from another thread than the request\n",
           percent(blocks->requests - freed, blocks->requests), percent(blocks->frees_elsewhere, blocks->frees));
}

static uint64_t
rounding(const struct pm_record *record)
{
    uint64_t lost = 0;
    for (size_t size = 0; size <= PM_SMALL_MAX; size++)
        lost += record->sizes[size] * (pm_class_size(pm_class_of_malloc(size, PM_MALLOC_ALIGNMENT)) - size);
    return lost;
}

static void
print_programs(const struct pm_recording *recording)
{
    const struct pm_advise_program *first = &recording->programs[0];
    if (recording->processes == 1 && recording->program_count == 1) {
        printf("Recorded: 1 process, %s\n", first->name);
        return;
    }
    printf("Recorded: %u process%s; %s (process %d) allocates most\n", recording->processes,
           recording->processes == 1 ? "" : "es", first->name, (int)first->process);
    if (recording->program_count == 1)
        return;
    for (unsigned i = 0; i < recording->program_count && i < PM_ADVISE_PROGRAMS; i++) {
        const struct pm_advise_program *program = &recording->programs[i];
        char number[16], size[16];
        printf("  %-16s %4u process%s %8s requests, for %s\n", program->name, program->processes,
               program->processes == 1 ? "  " : "es", pm_terminal_count(program->requests, number),
               pm_terminal_bytes(program->bytes, size));
    }
    if (recording->program_count > PM_ADVISE_PROGRAMS)
        printf("  and %u more\n", recording->program_count - PM_ADVISE_PROGRAMS);
    printf("\nOf %s alone:\n", first->name);
}

void
pm_advise_print_recording(const struct pm_recording *recording, bool linear)
{
    const struct pm_record *sum = &recording->sum;
    uint64_t requests = sum->small.requests + sum->large.requests, bytes = sum->small.bytes + sum->large.bytes;
    char number[16], size[16], peak[16], small[16], lost[16];
    print_programs(recording);
    printf("  requests       %8s, for %s; at most %s at once in one process\n", pm_terminal_count(requests, number),
           pm_terminal_bytes(bytes, size), pm_terminal_bytes(sum->live_bytes_peak, peak));
    printf("  up to 512 B    %8s, %.1f%% of the requests and %.1f%% of the bytes\n",
           pm_terminal_count(sum->small.requests, small), percent(sum->small.requests, requests),
           percent(sum->small.bytes, bytes));
    printf("  rounding       %8s, what size classes would add to those, %.1f%%\n",
           pm_terminal_bytes(rounding(sum), lost), percent(rounding(sum), sum->small.bytes));
    print_histogram(sum, linear);
    print_lifetimes(&sum->small);
}

static int
compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct spread {
    double low, median, high;
};

static struct spread
spread_of(const struct pm_runs *runs, enum pm_quantity quantity)
{
    double values[PM_ADVISE_RUNS_MAX];
    for (unsigned i = 0; i < runs->count; i++)
        values[i] = pm_advise_value(&runs->runs[i], quantity);
    qsort(values, runs->count, sizeof values[0], compare_doubles);
    unsigned middle = runs->count / 2;
    double median = runs->count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return (struct spread){values[0], median, values[runs->count - 1]};
}

static void
print_spread(const char *unit, double scale, struct spread spread)
{
    char text[64];
    int digits = spread.median / scale >= 100 ? 0 : spread.median / scale >= 10 ? 1 : 3;
    snprintf(text, sizeof text, "%.*f %s", digits, spread.median / scale, unit);
    printf("%12s", text);
    snprintf(text, sizeof text, "(%.*f..%.*f)", digits, spread.low / scale, digits, spread.high / scale);
    printf(" %-16s", text);
}

static void
print_quantity(const char *name, const char *unit, double scale, const struct pm_runs *system,
               const struct pm_runs *pools, enum pm_quantity quantity)
{
    struct pm_pairs pairs = pm_advise_pairs(system, pools, quantity);
    printf("  %-16s", name);
    print_spread(unit, scale, spread_of(system, quantity));
    print_spread(unit, scale, spread_of(pools, quantity));
    printf(" %5.2f", pairs.ratio);
    if (pairs.count > 1)
        printf(" (%.2f..%.2f)", pairs.low, pairs.high);
    putchar('\n');
}

void
pm_advise_print_comparison(const struct pm_runs *system, const struct pm_runs *pools)
{
    if (system->count == 0)
        return;
    if (system->count == 1)
        puts("\nOne run each");
    else
        printf("\nMedian of %u runs each, in turn, and ratio within each pair of them (lowest..highest)\n",
               system->count);
    printf("  %-16s%12s%-17s%12s%-17s %5s\n", "", "system", "", "poolmalloc", "", "ratio");
    print_quantity("time", "s", 1, system, pools, PM_SECONDS);
    print_quantity("processor time", "s", 1, system, pools, PM_PROCESSOR);
    print_quantity("peak memory", "MiB", 1 << 20, system, pools, PM_PEAK);
}
