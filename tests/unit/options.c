/* SPDX-License-Identifier: MIT
 *
 * options.h: which values each variable takes, what is said of a value it does not take, and the table that
 * POOLMALLOC_HELP prints. The environment is an array made for the test; stderr is compared exactly.
 */
#include "options.h"

#include "os.h"
#include "purge.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static char written[CAPTURE_SIZE];

/* What pm_os_is_privileged says here; tests/stats/privileged.py asks a real setuid program. */
static bool privileged;

bool __wrap_pm_os_is_privileged(void);
bool
__wrap_pm_os_is_privileged(void)
{
    return privileged;
}

static void
read_environment(void *environment)
{
    pm_options_read(environment);
}

/* Reads an environment of one variable; `written` gets what that says on stderr. */
static void
read_one(const char *variable)
{
    char *environment[] = {(char *)variable, NULL};
    capture_stderr(read_environment, environment, written);
}

static void
require_defaults(const char *variable)
{
    REQUIRE(pm_options.alignment == 16, "%s: alignment %zu", variable, pm_options.alignment);
    REQUIRE(pm_options.check == 0, "%s: check %zu", variable, pm_options.check);
    REQUIRE(pm_options.region == 0, "%s: region %zu", variable, pm_options.region);
    REQUIRE(pm_options.purge == PM_PURGE_BALANCED, "%s: purge %zu", variable, pm_options.purge);
    REQUIRE(pm_options.huge_pages == 1, "%s: huge pages %zu", variable, pm_options.huge_pages);
    REQUIRE(pm_options.purge_thread == 0, "%s: purge thread %zu", variable, pm_options.purge_thread);
    REQUIRE(pm_options.stats == 0, "%s: stats %zu", variable, pm_options.stats);
    REQUIRE(pm_options.stats_signal == 0, "%s: signal %zu", variable, pm_options.stats_signal);
    REQUIRE(pm_options.stats_file[0] == '\0', "%s: file %s", variable, pm_options.stats_file);
}

static void
require_written(const char *variable, const char *text)
{
    REQUIRE(strcmp(written, text) == 0, "%s: wrote \"%s\" instead of \"%s\"", variable, written, text);
}

static void
require_refused(const char *variable, const char *text)
{
    read_one(variable);
    require_written(variable, text);
    require_defaults(variable);
}

Test(options, without_variables_the_defaults_hold)
{
    pm_options = (struct pm_options){.alignment = 8, .check = 1, .region = 1, .stats = 1, .stats_file = "x"};
    capture_stderr(read_environment, NULL, written);
    require_written("no environment", "");
    require_defaults("no environment");
}

Test(options, other_variables_are_passed_over)
{
    static const char *const others[] = {
        "PATH=/bin", "POOLMALLO", "POOLMALLOC=1", "MY_POOLMALLOC_CHECK=1", "poolmalloc_check=1", "", "=", "x"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        require_refused(others[i], "");
}

Test(options, choices_take_their_two_values)
{
    static const struct {
        const char *variable;
        size_t *value;
        size_t expected;
    } cases[] = {
        {"POOLMALLOC_ALIGNMENT=8", &pm_options.alignment, 8}, {"POOLMALLOC_ALIGNMENT=16", &pm_options.alignment, 16},
        {"POOLMALLOC_CHECK=1", &pm_options.check, 1},         {"POOLMALLOC_CHECK=0", &pm_options.check, 0},
        {"POOLMALLOC_STATS=1", &pm_options.stats, 1},         {"POOLMALLOC_STATS=0", &pm_options.stats, 0},
        {"POOLMALLOC_CHECK=001", &pm_options.check, 1},       {"POOLMALLOC_HUGE_PAGES=0", &pm_options.huge_pages, 0},
        {"POOLMALLOC_HUGE_PAGES=1", &pm_options.huge_pages, 1},
        {"POOLMALLOC_PURGE_THREAD=1", &pm_options.purge_thread, 1},
        {"POOLMALLOC_PURGE_THREAD=0", &pm_options.purge_thread, 0},
        {"POOLMALLOC_DEEPBIND=1", &pm_options.deepbind, 1},   {"POOLMALLOC_DEEPBIND=0", &pm_options.deepbind, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        read_one(cases[i].variable);
        require_written(cases[i].variable, "");
        REQUIRE(*cases[i].value == cases[i].expected, "%s: %zu", cases[i].variable, *cases[i].value);
    }
}

#define TAKES(name, values)                                                           \
    "poolmalloc: POOLMALLOC_" name " has a bad value; it takes " values \
    "; POOLMALLOC_HELP=1 lists what there is\n"

Test(options, choices_refuse_everything_else)
{
    static const char *const alignments[] = {"0", "1", "4", "12", "32", "-8", "+8", " 8", "8 ", "8x", "0x8", "eight",
                                             "8K", "18446744073709551624", "16K", "2147483656"};
    static const char *const checks[] = {"2", "yes", "true", "1.0", "10", "-1", "1K", "0b"};
    char variable[64];
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_ALIGNMENT=%s", alignments[i]);
        require_refused(variable, TAKES("ALIGNMENT", "8 or 16"));
    }
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_CHECK=%s", checks[i]);
        require_refused(variable, TAKES("CHECK", "0 or 1"));
        snprintf(variable, sizeof variable, "POOLMALLOC_STATS=%s", checks[i]);
        require_refused(variable, TAKES("STATS", "0, 1, text or json"));
        snprintf(variable, sizeof variable, "POOLMALLOC_PURGE_THREAD=%s", checks[i]);
        require_refused(variable, TAKES("PURGE_THREAD", "0 or 1"));
        snprintf(variable, sizeof variable, "POOLMALLOC_HUGE_PAGES=%s", checks[i]);
        require_refused(variable, TAKES("HUGE_PAGES", "0 or 1"));
        snprintf(variable, sizeof variable, "POOLMALLOC_DEEPBIND=%s", checks[i]);
        require_refused(variable, TAKES("DEEPBIND", "0 or 1"));
        snprintf(variable, sizeof variable, "POOLMALLOC_HELP=%s", checks[i]);
        require_refused(variable, TAKES("HELP", "0 or 1"));
    }
}

Test(options, names_are_numbers_inside)
{
    static const char *const names[] = {"eager", "balanced", "never"};
    static const char *const wrong[] = {"Eager", "eager ", "eage", "eagerly", "0", "1", "none"};
    char variable[64];
    for (size_t i = 0; i < 3; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_PURGE=%s", names[i]);
        read_one(variable);
        require_written(variable, "");
        REQUIRE(pm_options.purge == i, "%s: %zu", variable, pm_options.purge);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_PURGE=%s", wrong[i]);
        require_refused(variable, TAKES("PURGE", "eager, balanced or never"));
    }
}

Test(options, bytes_take_units)
{
    static const struct {
        const char *value;
        size_t expected;
    } cases[] = {
        {"0", 0},
        {"16777216", (size_t)16 << 20},
        {"16777217", ((size_t)16 << 20) + 1},
        {"16384K", (size_t)16 << 20},
        {"16M", (size_t)16 << 20},
        {"64G", (size_t)64 << 30},
        {"1T", (size_t)1 << 40},
        {"1024G", (size_t)1 << 40},
        {"1099511627776", (size_t)1 << 40},
        {"0T", 0},
    };
    char variable[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_REGION=%s", cases[i].value);
        read_one(variable);
        require_written(variable, "");
        REQUIRE(pm_options.region == cases[i].expected, "%s: %zu", variable, pm_options.region);
    }
}

Test(options, bytes_refuse_what_is_no_size_or_out_of_bounds)
{
    static const char *const values[] = {
        "1",     "16777215", "15M",  "2T",   "1025G", "1099511627777", "16m", "16MB", "16 M", "M",  "KM", "16MM",
        "-16M",  "+16M",     "1e9",  "0x10", "16M ",  " 16M",          "G",   "16.5M",
        "18446744073709551616", "18446744073726328832", "99999999999999999999999999999999999999", "4294967296T",
        "16777216T",
    };
    char variable[128];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_REGION=%s", values[i]);
        require_refused(variable, TAKES("REGION", "0 or a number of bytes from 16M to 1T"));
    }
}

Test(options, paths_up_to_their_length)
{
    static char variable[PM_OPTION_PATH_MAX + 64];
    size_t start = (size_t)snprintf(variable, sizeof variable, "POOLMALLOC_STATS_FILE=");
    memset(variable + start, 'p', PM_OPTION_PATH_MAX - 1);
    read_one(variable);
    require_written("the longest path", "");
    REQUIRE(strcmp(pm_options.stats_file, variable + start) == 0, "another path: %s", pm_options.stats_file);

    variable[start + PM_OPTION_PATH_MAX - 1] = 'p';
    require_refused(variable, "poolmalloc: POOLMALLOC_STATS_FILE has a bad value; "
                              "POOLMALLOC_HELP=1 lists what there is\n");
    read_one("POOLMALLOC_STATS_FILE=/tmp/a=b %p");
    REQUIRE(strcmp(pm_options.stats_file, "/tmp/a=b %p") == 0, "another path: %s", pm_options.stats_file);
}

Test(options, an_empty_value_is_the_default)
{
    static const char *const names[] = {"ALIGNMENT", "CHECK", "REGION", "PURGE", "PURGE_THREAD", "HUGE_PAGES",
                                        "DEEPBIND", "STATS", "STATS_FILE", "STATS_SIGNAL", "HELP"};
    char variable[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_%s=", names[i]);
        require_refused(variable, "");
    }
}

Test(options, unknown_names_are_named)
{
    static const char *const names[] = {"", "CHEK", "CHECKS", "STAT", "STATS_", "STATS_FILES", "check", "ALIGNMENT "};
    char variable[64], line[256];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_%s=1", names[i]);
        snprintf(line, sizeof line,
                 "poolmalloc: POOLMALLOC_%s is not an option; POOLMALLOC_HELP=1 lists what there is\n", names[i]);
        require_refused(variable, line);
    }
    require_refused("POOLMALLOC_CHECK",
                    "poolmalloc: POOLMALLOC_CHECK is not an option; POOLMALLOC_HELP=1 lists what there is\n");
}

Test(options, several_variables_one_line_for_each_mistake)
{
    char *environment[] = {"HOME=/", "POOLMALLOC_STATS=1", "POOLMALLOC_REGION=5", "POOLMALLOC_ALIGNMENT=8",
                           "POOLMALLOC_NONE=", "POOLMALLOC_REGION=32M", NULL};
    capture_stderr(read_environment, environment, written);
    require_written("several", TAKES("REGION", "0 or a number of bytes from 16M to 1T")
                               "poolmalloc: POOLMALLOC_NONE is not an option; POOLMALLOC_HELP=1 lists what there is\n");
    REQUIRE(pm_options.stats == 1 && pm_options.alignment == 8, "%zu, %zu", pm_options.stats, pm_options.alignment);
    REQUIRE(pm_options.region == (size_t)32 << 20, "region %zu", pm_options.region);
}

/* The caller of a setuid program gives it its environment: no variable counts, and no mistake is spoken of. */
Test(options, privileged_programs_have_none)
{
    char *environment[] = {"POOLMALLOC_ALIGNMENT=8", "POOLMALLOC_CHECK=1", "POOLMALLOC_REGION=32M",
                           "POOLMALLOC_PURGE=never", "POOLMALLOC_PURGE_THREAD=1", "POOLMALLOC_HUGE_PAGES=0",
                           "POOLMALLOC_STATS=json", "POOLMALLOC_STATS_FILE=/tmp/out", "POOLMALLOC_STATS_SIGNAL=USR2",
                           "POOLMALLOC_HELP=1", "POOLMALLOC_NONE=1", "POOLMALLOC_CHECK=7", NULL};
    privileged = true;
    capture_stderr(read_environment, environment, written);
    require_written("privileged", "");
    require_defaults("privileged");
    privileged = false;
    capture_stderr(read_environment, environment, written);
    REQUIRE(pm_options.alignment == 8 && pm_options.stats_signal == SIGUSR2 && written[0] != '\0',
            "the same environment says nothing to any program");
}

/* Not this library's, but of the same family: `poolmalloc advise` sets it for its recorder. */
Test(options, the_recorder_s_variable_is_passed_over)
{
    require_refused("POOLMALLOC_ADVISE_DIRECTORY=/tmp/poolmalloc-advise.1", "");
    require_refused("POOLMALLOC_ADVISE_DIRECTORY=", "");
    require_refused("POOLMALLOC_ADVISE=1",
                    "poolmalloc: POOLMALLOC_ADVISE is not an option; POOLMALLOC_HELP=1 lists what there is\n");
}

Test(options, signals_have_names_and_numbers)
{
    static const struct {
        const char *value;
        size_t expected;
    } cases[] = {{"USR2", SIGUSR2}, {"SIGUSR2", SIGUSR2}, {"12", 12}, {"HUP", SIGHUP}, {"40", 40}, {"0", 0}};
    static const char *const wrong[] = {"KILL", "SIGSTOP", "9", "11", "SEGV", "usr2", "65", "-1", "12x", "SIG", " 12",
                                        "99999999999999999999", "32"};
    char variable[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_STATS_SIGNAL=%s", cases[i].value);
        read_one(variable);
        require_written(variable, "");
        REQUIRE(pm_options.stats_signal == cases[i].expected, "%s: %zu", variable, pm_options.stats_signal);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_STATS_SIGNAL=%s", wrong[i]);
        require_refused(variable,
                        TAKES("STATS_SIGNAL", "the name or number of a signal that a program can handle, or 0"));
        REQUIRE(pm_options.stats_signal == 0, "%s: %zu", variable, pm_options.stats_signal);
    }
}

Test(options, statistics_have_formats)
{
    static const char *const names[] = {"0", "1", "text", "json"};
    char variable[64];
    for (size_t i = 0; i < 4; i++) {
        snprintf(variable, sizeof variable, "POOLMALLOC_STATS=%s", names[i]);
        read_one(variable);
        require_written(variable, "");
        REQUIRE(pm_options.stats == i, "%s: %zu", variable, pm_options.stats);
    }
}

/* Help shows what is in force, so it comes after the whole environment, wherever it stands in it. */
Test(options, help_prints_the_table)
{
    char *environment[] = {"POOLMALLOC_HELP=1", "POOLMALLOC_ALIGNMENT=8", "POOLMALLOC_STATS_FILE=/tmp/out",
                           "POOLMALLOC_REGION=16M", "POOLMALLOC_PURGE=never", "POOLMALLOC_HUGE_PAGES=0", NULL};
    capture_stderr(read_environment, environment, written);
    require_written(
        "help",
        "poolmalloc reads these environment variables (value in force, then the default):\n"
        "  POOLMALLOC_ALIGNMENT     8 (16)  alignment of malloc in bytes; 8 packs denser, for programs that need no "
        "more\n"
        "  POOLMALLOC_CHECK         0 (0)  1: every free is checked in the call; slow\n"
        "  POOLMALLOC_REGION        16777216 (0)  address space to reserve for the pools, e.g. 64G; 0: at "
        "least 4 times the memory, and 64G\n"
        "  POOLMALLOC_PURGE         never (balanced)  when free pages go back: at once, above what was lately needed "
        "again, or when trimmed\n"
        "  POOLMALLOC_PURGE_THREAD  0 (0)  1: a background thread gives free pages back too, for programs that go idle\n"
        "  POOLMALLOC_HUGE_PAGES    0 (1)  0: the pools never ask for huge pages; 1: those of large programs do\n"
        "  POOLMALLOC_DEEPBIND      0 (0)  0: dlopen drops RTLD_DEEPBIND, which gives a library libc's malloc; 1: it "
        "does not\n"
        "  POOLMALLOC_STATS         0 (0)  1, text or json: print statistics on stderr when the program exits\n"
        "  POOLMALLOC_STATS_FILE    /tmp/out (none)  print them to this file instead; %p in the name is the process "
        "number\n"
        "  POOLMALLOC_STATS_SIGNAL  0 (0)  print them on this signal, e.g. USR2, one that the program does not use\n"
        "  POOLMALLOC_HELP          1 (0)  1: print this table on stderr when the program starts\n");
}
