/* SPDX-License-Identifier: MIT
 *
 * Starts programs where there is little room, and sees that nothing fails before the system fails, and that then
 * nothing crashes.
 */
#include "support/check.h"
#include "support/run.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, STEP = 128 << 10 };

/* Runs `command`, which checks itself, under one limit. */
static void
live_under(int resource, rlim_t value, const char *const *environment, const char *const *command)
{
    struct run run = {.command = command, .environment = environment, .limits = {{resource, value}}, .limit_count = 1};
    run_program(&run);
    REQUIRE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0, "%s %s: %s%s", command[0], run_ending(&run),
            run.output, run.errors);
    REQUIRE(run.errors[0] == '\0', "%s wrote: %s", command[0], run.errors);
}

#define EXHAUST(least, ...) ((const char *const[]){PROGRAM_exhaust, least, __VA_ARGS__, NULL})
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- Address space ---- */

static const rlim_t ulimit_v_400000 = (rlim_t)400000 << 10;

/* The second kind must get what the first one had and gave back. */
Test(limits, address_space_large_then_small)
{
    live_under(RLIMIT_AS, ulimit_v_400000, NULL, EXHAUST("300", "large", "small"));
}

Test(limits, address_space_small_then_large)
{
    live_under(RLIMIT_AS, ulimit_v_400000, NULL, EXHAUST("300", "small", "large"));
}

Test(limits, address_space_all_kinds)
{
    live_under(RLIMIT_AS, 200 * MIB, NULL, EXHAUST("120", "pooled"));
    live_under(RLIMIT_AS, ulimit_v_400000, NULL, EXHAUST("280", "mixed", "pooled", "kept"));
}

Test(limits, address_space_with_modes)
{
    live_under(RLIMIT_AS, 100 * MIB, SETTINGS("POOLMALLOC_CHECK=1"), EXHAUST("60", "small", "mixed"));
    live_under(RLIMIT_AS, 100 * MIB, SETTINGS("POOLMALLOC_ALIGNMENT=8"), EXHAUST("60", "pooled", "mixed"));
}

/* A region that is full is no reason to fail: the system allocator has the last word. */
Test(limits, a_tiny_region)
{
    live_under(RLIMIT_AS, 200 * MIB, SETTINGS("POOLMALLOC_REGION=16M"), EXHAUST("120", "small", "pooled", "mixed"));
}

/* ---- Data ---- */

Test(limits, data_of_64_mib)
{
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "small"));
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "large"));
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "mixed"));
}

Test(limits, data_of_8_mib)
{
    live_under(RLIMIT_DATA, 8 * MIB, NULL, EXHAUST("3", "small"));
    live_under(RLIMIT_DATA, 8 * MIB, NULL, EXHAUST("3", "large"));
    live_under(RLIMIT_DATA, 8 * MIB, NULL, EXHAUST("3", "mixed"));
}

Test(limits, data_changes_hands)
{
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "large", "small"));
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "small", "large"));
    live_under(RLIMIT_DATA, 64 * MIB, NULL, EXHAUST("32", "pooled", "kept", "mixed", "small"));
}

/* ---- No room for a region ---- */

enum outcome { BEFORE_MAIN, NOT_ENOUGH, WORKS, CRASHES };

/* The loader says that it lacks memory, or the kernel, which cannot even map the program, kills it. */
static int
failed_before_main(const struct run *run)
{
    if (run->output[0] != '\0')
        return 0;
    if (WIFEXITED(run->status))
        return WEXITSTATUS(run->status) == 127 && strstr(run->errors, "shared libraries") != NULL;
    return (WTERMSIG(run->status) == SIGKILL || WTERMSIG(run->status) == SIGSEGV) && run->errors[0] == '\0';
}

static enum outcome
try_in(const char *program, const char *how, rlim_t space, struct run *run)
{
    const char *command[] = {program, how, NULL};
    *run = (struct run){.command = command, .limits = {{RLIMIT_AS, space}}, .limit_count = 1};
    run_program(run);
    if (failed_before_main(run))
        return BEFORE_MAIN;
    if (run->errors[0] != '\0' || strncmp(run->output, "started\n", 8) != 0 || !WIFEXITED(run->status))
        return CRASHES;
    return WEXITSTATUS(run->status) == 0 && strcmp(run->output, "started\ndone\n") == 0 ? WORKS
           : WEXITSTATUS(run->status) == 1                                              ? NOT_ENOUGH
                                                                                        : CRASHES;
}

/* From where the program works without poolmalloc, up: with it, it needs 2 MiB more at most, crashes nowhere, and
 * where it works, it works with more as well. */
static void
live_in_any_room(const char *how)
{
    struct run run;
    rlim_t floor = STEP;
    while (try_in(PROGRAM_hello_plain, how, floor, &run) != WORKS) {
        REQUIRE(floor < 64 * MIB, "hello does not work at all");
        floor += STEP;
    }
    enum outcome best = BEFORE_MAIN;
    for (rlim_t space = floor; space < floor + 40 * MIB; space += space < floor + 4 * MIB ? STEP : 3 * MIB) {
        enum outcome now = try_in(PROGRAM_hello, how, space, &run);
        REQUIRE(now != CRASHES, "in %zu KiB hello %s: %s%s", (size_t)space >> 10, run_ending(&run), run.output,
                run.errors);
        REQUIRE(now >= best, "%zu KiB are not enough, less was: hello %s: %s%s", (size_t)space >> 10, run_ending(&run),
                run.output, run.errors);
        REQUIRE(now == WORKS || space < floor + 2 * MIB, "2 MiB more than without poolmalloc is not enough: %s",
                run.errors);
        best = now;
    }
}

Test(limits, programs_start_in_any_room)
{
    live_in_any_room("");
}

Test(limits, programs_fail_gracefully_in_any_room)
{
    live_in_any_room("exhaust");
}

/* ---- Other limits ---- */

static void
live(const char *const *environment, const char *const *command)
{
    struct run run = {.command = command, .environment = environment, .seconds = 120};
    run_program(&run);
    REQUIRE(run.status == 0 && run.errors[0] == '\0', "%s %s: %s%s", command[0], run_ending(&run), run.output,
            run.errors);
}

#define COMMAND(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(limits, address_space_lowered_while_running)
{
    live(NULL, COMMAND(PROGRAM_lowered, "large"));
    live(NULL, COMMAND(PROGRAM_lowered, "small"));
    live(SETTINGS("POOLMALLOC_CHECK=1"), COMMAND(PROGRAM_lowered, "large"));
}

/* In every size of region, also one whose page map alone is larger than the limit. */
Test(limits, a_limit_that_the_program_sets_itself)
{
    const char *const ways[] = {"setrlimit", "setrlimit64", "prlimit", "prlimit64", "unseen"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        live(NULL, COMMAND(PROGRAM_own_limit, ways[i]));
    live(SETTINGS("POOLMALLOC_REGION=1T"), COMMAND(PROGRAM_own_limit, "setrlimit"));
    live(SETTINGS("POOLMALLOC_REGION=1T"), COMMAND(PROGRAM_own_limit, "unseen"));
    live(SETTINGS("POOLMALLOC_REGION=16G", "POOLMALLOC_CHECK=1"), COMMAND(PROGRAM_own_limit, "prlimit"));
}

Test(limits, the_smallest_thread_stacks)
{
    live(NULL, COMMAND(PROGRAM_small_stack));
    live(SETTINGS("POOLMALLOC_CHECK=1"), COMMAND(PROGRAM_small_stack));
}

Test(limits, memory_moves_between_sizes)
{
    live(NULL, COMMAND(PROGRAM_waves, "40", "60"));
}

/* ---- The environment ---- */

/* `settings` under these variables: writes `output`, and on stderr as many lines as are given, each beginning with
 * "poolmalloc: " and naming its variable. */
static void
complains(const char *const *environment, const char *output, const char *const *names)
{
    struct run run = {.command = COMMAND(PROGRAM_settings), .environment = environment};
    run_program(&run);
    REQUIRE(run.status == 0, "settings %s: %s", run_ending(&run), run.errors);
    REQUIRE(strcmp(run.output, output) == 0, "under %s: %s", environment[0], run.output);
    const char *line = run.errors;
    for (; *names != NULL; names++) {
        const char *end = strchr(line, '\n');
        REQUIRE(end != NULL && strncmp(line, "poolmalloc: ", 12) == 0, "under %s: %s", environment[0], run.errors);
        const char *name = strstr(line, *names);
        REQUIRE(name != NULL && name < end, "no complaint of %s: %s", *names, run.errors);
        line = end + 1;
    }
    REQUIRE(*line == '\0', "under %s, one line too many: %s", environment[0], line);
}

Test(environment, good_settings_are_taken_silently)
{
    complains(SETTINGS("POOLMALLOC_ALIGNMENT=8"), "24 more\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_ALIGNMENT=16"), "32 more\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_REGION=16M"), "32 16M\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_REGION=16384K"), "32 16M\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_REGION=16777216"), "32 16M\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_REGION=1G", "POOLMALLOC_ALIGNMENT=8"), "24 more\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_PURGE=eager", "POOLMALLOC_CHECK=1"), "32 more\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC_PURGE=never", "POOLMALLOC_STATS=0"), "32 more\n", SETTINGS(NULL));
    complains(SETTINGS("POOLMALLOC=1", "POOLMALLOCX=2", "XPOOLMALLOC_Y=3"), "32 more\n", SETTINGS(NULL));
}

Test(environment, bad_settings_are_one_line_and_the_default)
{
    const char *const values[] = {"POOLMALLOC_ALIGNMENT=7",  "POOLMALLOC_ALIGNMENT=32", "POOLMALLOC_ALIGNMENT=-8",
                                  "POOLMALLOC_ALIGNMENT=8x", "POOLMALLOC_ALIGNMENT=eight"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        complains(SETTINGS(values[i]), "32 more\n", SETTINGS("POOLMALLOC_ALIGNMENT"));
    const char *const regions[] = {"POOLMALLOC_REGION=banana", "POOLMALLOC_REGION=-1",     "POOLMALLOC_REGION=16MM",
                                   "POOLMALLOC_REGION=1X",     "POOLMALLOC_REGION=M",      "POOLMALLOC_REGION= 16M",
                                   "POOLMALLOC_REGION=1",      "POOLMALLOC_REGION=99999T", "POOLMALLOC_REGION=16M ",
                                   "POOLMALLOC_REGION=99999999999999999999999999"};
    for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++)
        complains(SETTINGS(regions[i]), "32 more\n", SETTINGS("POOLMALLOC_REGION"));
}

Test(environment, each_bad_setting_has_its_line)
{
    complains(SETTINGS("POOLMALLOC_PURGE=fast", "POOLMALLOC_CHECK=2", "POOLMALLOC_STATS=yes"), "32 more\n",
              SETTINGS("POOLMALLOC_PURGE", "POOLMALLOC_CHECK", "POOLMALLOC_STATS"));
}

Test(environment, unknown_settings_are_one_line_each)
{
    complains(SETTINGS("POOLMALLOC_FOO=1"), "32 more\n", SETTINGS("POOLMALLOC_FOO"));
    complains(SETTINGS("POOLMALLOC_=1"), "32 more\n", SETTINGS("POOLMALLOC_"));
    complains(SETTINGS("POOLMALLOC_ALIGN=8"), "32 more\n", SETTINGS("POOLMALLOC_ALIGN"));
    complains(SETTINGS("POOLMALLOC_ALIGNMENTS=8"), "32 more\n", SETTINGS("POOLMALLOC_ALIGNMENTS"));
    complains(SETTINGS("POOLMALLOC_FOO=1", "POOLMALLOC_BAR=2", "POOLMALLOC_CHECK=maybe"), "32 more\n",
              SETTINGS("POOLMALLOC_FOO", "POOLMALLOC_BAR", "POOLMALLOC_CHECK"));
}

Test(environment, help_is_a_table_of_the_options)
{
    struct run run = {.command = COMMAND(PROGRAM_settings), .environment = SETTINGS("POOLMALLOC_HELP=1")};
    run_program(&run);
    REQUIRE(run.status == 0 && strcmp(run.output, "32 more\n") == 0, "settings %s: %s", run_ending(&run), run.output);
    const char *const names[] = {"POOLMALLOC_ALIGNMENT", "POOLMALLOC_CHECK",      "POOLMALLOC_REGION", "POOLMALLOC_PURGE",
                                 "POOLMALLOC_STATS",     "POOLMALLOC_STATS_FILE", "POOLMALLOC_HELP"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        REQUIRE(strstr(run.errors, names[i]) != NULL, "%s is not explained: %s", names[i], run.errors);
}
