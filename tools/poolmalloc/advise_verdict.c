/* SPDX-License-Identifier: MIT
 *
 * The advice. It rests on the ratios within pairs of runs, one on each allocator, one just after the other: what slows
 * the machine down for a while slows both. There is no verdict without a spread of these ratios, nor one that the
 * spread does not carry; then the advice says how many runs would.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advise.h"
#include "command.h"
#include "terminal.h"

#define PAIRS_MIN 3            /* fewer have no spread worth the name */
#define FASTER 0.98            /* of the time: less is of no use to anybody */
#define SAME 1.05              /* a ratio that is known to lie between this and its inverse */
#define LEANER 0.95            /* of the memory */
#define FATTER 1.10
#define SHORTEST 0.02          /* seconds of processor time: what is shorter is the start of a process */
#define FEW_REQUESTS 100000.0  /* a second: at 20 ns each, two thousandths of the time */

double
pm_advise_value(const struct pm_run_result *run, enum pm_quantity quantity)
{
    return quantity == PM_SECONDS ? run->seconds : quantity == PM_PROCESSOR ? run->processor_seconds : run->peak_bytes;
}

/* How many standard errors to either side of the mean of `count` values 95 % are: Student's t. */
static double
student(unsigned count)
{
    static const double table[] = {12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23,
                                   2.20,  2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09};
    unsigned known = sizeof table / sizeof table[0];
    return count - 1 <= known ? table[count - 2] : 2.08;
}

/* On a logarithmic scale, on which half and twice are equally far from 1. */
struct pm_pairs
pm_advise_pairs(const struct pm_runs *system, const struct pm_runs *pools, enum pm_quantity quantity)
{
    struct pm_pairs pairs = {.count = system->count, .low = INFINITY, .high = 0, .ratio = 1, .upper = INFINITY};
    double logarithms[PM_ADVISE_RUNS_MAX], sum = 0, squares = 0;
    for (unsigned i = 0; i < pairs.count; i++) {
        double before = pm_advise_value(&system->runs[i], quantity), now = pm_advise_value(&pools->runs[i], quantity);
        double ratio = before > 0 && now > 0 ? now / before : 1;
        pairs.low = fmin(pairs.low, ratio);
        pairs.high = fmax(pairs.high, ratio);
        logarithms[i] = log(ratio);
        sum += logarithms[i];
    }
    if (pairs.count == 0)
        return pairs;
    double mean = sum / pairs.count;
    pairs.ratio = exp(mean);
    for (unsigned i = 0; i < pairs.count; i++)
        squares += (logarithms[i] - mean) * (logarithms[i] - mean);
    if (pairs.count < PAIRS_MIN)
        return pairs;
    pairs.deviation = sqrt(squares / (pairs.count - 1));
    double half = student(pairs.count) * pairs.deviation / sqrt(pairs.count);
    pairs.lower = exp(mean - half);
    pairs.upper = exp(mean + half);
    return pairs;
}

/* How many pairs with this deviation would tell whether there is a difference: that their interval excludes 1, or that
 * it lies within SAME. 0 when even the most would not. */
static unsigned
pairs_needed(const struct pm_pairs *pairs)
{
    double mean = fabs(log(pairs->ratio)), half = fmax(mean, log(SAME) - mean);
    for (unsigned count = pairs->count + 1; count <= PM_ADVISE_RUNS_MAX; count++)
        if (student(count) * pairs->deviation / sqrt(count) < half)
            return count;
    return 0;
}

static bool
is_python(const char *program)
{
    const char *pools = getenv("PYTHONMALLOC");
    return strncmp(program, "python", 6) == 0 && (pools == NULL || strcmp(pools, "malloc") != 0);
}

static double
small_share(const struct pm_record *record)
{
    uint64_t requests = record->small.requests + record->large.requests;
    return requests != 0 ? 100.0 * (double)record->small.requests / (double)requests : 0;
}

/* Without measured runs: by what was recorded alone. */
static char *
advise_by_recording(const struct pm_recording *recording, const char *whose)
{
    double seconds = recording->run.seconds > 0 ? recording->run.seconds : 1;
    double rate = (double)recording->sum.small.requests / seconds;
    char number[16];
    const char *often = pm_terminal_count((uint64_t)rate, number);
    if (rate < FEW_REQUESTS / 10)
        return pm_command_format("No reason to use it: the program asks for blocks of up to 512 bytes only %s times a "
                                 "second.", often);
    return pm_command_format("Worth measuring: %.0f%% of %s requests fit the pools, %s of them a second even "
                             "while they were recorded.", small_share(&recording->sum), whose, often);
}

/* The pairs do not tell whether there is a difference. */
static char *
advise_more_runs(const struct pm_pairs *time)
{
    unsigned needed = pairs_needed(time);
    char *runs = needed != 0 ? pm_command_format("about %u runs on each would tell (--runs %u)", needed, needed)
                             : pm_command_format("not even %d runs on each would tell: the machine is too busy, or the "
                                                 "program does not do the same each time", PM_ADVISE_RUNS_MAX);
    char *text = pm_command_format("No verdict: in %u pairs of runs poolmalloc took %.2f to %.2f of the processor "
                                   "time; %s.", time->count, time->low, time->high, runs);
    free(runs);
    return text;
}

static char *
advise_by_runs(const struct pm_recording *recording, const struct pm_runs *system, const struct pm_runs *pools,
               const char *whose, const char *who)
{
    struct pm_pairs time = pm_advise_pairs(system, pools, PM_PROCESSOR);
    struct pm_pairs memory = pm_advise_pairs(system, pools, PM_PEAK);
    double share = small_share(&recording->sum), seconds = 0;
    bool apart = time.upper < 1 || time.lower > 1, same = time.lower > 1 / SAME && time.upper < SAME;
    bool leaner = memory.ratio < LEANER && memory.high < 1;
    char number[16];
    for (unsigned i = 0; i < system->count; i++)
        seconds += system->runs[i].processor_seconds / system->count;
    double rate = seconds > 0 ? (double)recording->requests / seconds : 0;
    if (recording->requests == 0)
        return pm_command_format("No reason to use it: the program makes no requests at all.");
    if (seconds < SHORTEST)
        return pm_command_format("No advice: the program runs for %.1f ms, too short to measure an allocator; give it "
                                 "more to do.", 1000 * seconds);
    if (time.count < PAIRS_MIN)
        return pm_command_format("No verdict: %s on each allocator cannot tell a difference from chance; it takes at "
                                 "least %d (--runs %d).", time.count == 1 ? "one run" : "two runs", PAIRS_MIN,
                                 PAIRS_MIN);
    if (apart && time.ratio < FASTER && memory.ratio <= FATTER)
        return pm_command_format("Use it: %.0f%% of %s requests fit the pools, and %s takes %.2f of the processor time "
                                 "(%.2f to %.2f in %u pairs of runs) and %.2f of the memory.",
                                 share, whose, who, time.ratio, time.low, time.high, time.count, memory.ratio);
    if (apart && time.ratio < FASTER)
        return pm_command_format("Use it where time counts more than memory: %s takes %.2f of the processor time "
                                 "(%.2f to %.2f in %u pairs of runs), but %.2f of the memory.",
                                 who, time.ratio, time.low, time.high, time.count, memory.ratio);
    if (apart && time.ratio > 1 / FASTER)
        return pm_command_format("Do not use it: %s takes %.2f of the processor time (%.2f to %.2f in %u pairs of "
                                 "runs; %.0f%% of %s requests fit the pools).",
                                 who, time.ratio, time.low, time.high, time.count, share, whose);
    if (leaner && (apart || same))
        return pm_command_format("Use it for the memory: %s takes %.2f of it, and the same time (%.2f to %.2f in %u "
                                 "pairs of runs).", who, memory.ratio, time.low, time.high, time.count);
    if (leaner)
        return pm_command_format("Use it for the memory: %s takes %.2f of it; of the time %u pairs of runs cannot tell "
                                 "(%.2f to %.2f).", who, memory.ratio, time.count, time.low, time.high);
    if (rate < FEW_REQUESTS)
        return pm_command_format("No reason to use it: %s allocates so little (%s requests a second) that no allocator "
                                 "matters.", who, pm_terminal_count((uint64_t)rate, number));
    if (!apart && !same)
        return advise_more_runs(&time);
    if (share < 50)
        return pm_command_format("No reason to use it: only %.0f%% of %s requests fit the pools, and neither time "
                                 "(%.2f) nor memory (%.2f) gets better.", share, whose, time.ratio, memory.ratio);
    return pm_command_format("No reason to use it: %.0f%% of %s requests fit the pools, but there is no difference in "
                             "time that matters (%.2f to %.2f in %u pairs of runs), nor in memory (%.2f).",
                             share, whose, time.low, time.high, time.count, memory.ratio);
}

void
pm_advise_print_advice(const struct pm_recording *recording, const struct pm_runs *system, const struct pm_runs *pools)
{
    const char *program = recording->programs[0].name;
    bool several = recording->program_count > 1;
    char *whose = several ? pm_command_format("%s's", program) : pm_command_format("its");
    char *text = system->count == 0 ? advise_by_recording(recording, whose)
                                    : advise_by_runs(recording, system, pools, whose, several ? "the command" : "it");
    putchar('\n');
    pm_terminal_wrap(text);
    free(text);
    free(whose);
    if (is_python(program))
        pm_terminal_wrap("Python's own pools served its small objects here; ask again with PYTHONMALLOC=malloc in the "
                         "environment.");
}
