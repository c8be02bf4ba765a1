/* SPDX-License-Identifier: MIT
 *
 * The command `poolmalloc`: finds the subcommand in a table and runs it. Here are also the functions that end the
 * command with one line and an exit status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "poolmalloc.h"
#include "printable.h"
#include "screen.h"

struct subcommand {
    const char *name, *summary;
    int (*run)(int count, char **arguments);
};

static const struct subcommand table[] = {
    {"run", "run a program on poolmalloc", pm_run_main},
    {"stat", "what the heap of a running process holds, once or again and again", pm_stat_main},
    {"map", "the heap of a running process or of a core file as a picture", pm_map_main},
    {"advise", "would poolmalloc help this program? Runs it and measures", pm_advise_main},
    {"doctor", "is poolmalloc active there, and if not, why", pm_doctor_main},
};

const char *pm_command_name;

static void __attribute__((format(printf, 1, 0)))
print_line(const char *format, va_list arguments)
{
    pm_screen_close();
    fflush(stdout);
    fprintf(stderr, "poolmalloc%s%s: ", pm_command_name != NULL ? " " : "",
            pm_command_name != NULL ? pm_command_name : "");
    char *text;
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    pm_printable_make(text);
    fputs(text, stderr);
    free(text);
}

void
pm_command_fail(enum pm_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

void
pm_command_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    fprintf(stderr, "; poolmalloc%s%s --help shows what there is\n", pm_command_name != NULL ? " " : "",
            pm_command_name != NULL ? pm_command_name : "");
    exit(PM_STATUS_USAGE);
}

void
pm_command_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* The help text belongs to the subcommand, which prints it when it is called for nothing else. */
static _Noreturn void
print_help_of(const char *name)
{
    char *arguments[] = {NULL, "--help", NULL};
    optind = 0; /* getopt begins anew */
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(name, table[i].name) == 0)
            table[i].run(2, arguments);
    abort();
}

static _Noreturn void
print_version(void)
{
    puts("poolmalloc " PM_VERSION_STRING);
    pm_command_help("");
}

void
pm_command_bad_option(int answer, char **arguments)
{
    const char *argument = arguments[optind - 1];
    if (answer == ':')
        pm_command_usage("%s needs a value", argument);
    if (optopt == 'h')
        print_help_of(pm_command_name);
    if (optopt == 'V' || (optopt == 0 && strcmp(argument, "--version") == 0))
        print_version();
    if (strncmp(argument, "--", 2) == 0 && optopt != 0)
        pm_command_usage("%.*s takes no value", (int)strcspn(argument, "="), argument);
    if (strncmp(argument, "--", 2) == 0)
        pm_command_usage("there is no option %.*s", (int)strcspn(argument, "="), argument);
    pm_command_usage("there is no option -%c", optopt);
}

void
pm_command_help(const char *text)
{
    fputs(text, stdout);
    pm_command_finish_output();
    exit(PM_STATUS_OK);
}

void
pm_command_finish_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        pm_command_fail(PM_STATUS_NO_OUTPUT, "cannot write the output: %s", strerror(errno));
}

unsigned long
pm_command_number(const char *what, const char *string, unsigned long low, unsigned long high)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(string, &end, 10);
    if (*string < '0' || *string > '9' || *end != '\0' || errno != 0 || number < low || number > high)
        pm_command_usage("%s takes a number from %lu to %lu, not '%s'", what, low, high, string);
    return number;
}

double
pm_command_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void *
pm_command_allocate(size_t size)
{
    return pm_command_reallocate(NULL, size);
}

void *
pm_command_reallocate(void *block, size_t size)
{
    block = realloc(block, size != 0 ? size : 1);
    if (block == NULL) {
        fputs("poolmalloc: out of memory\n", stderr);
        abort();
    }
    return block;
}

char *
pm_command_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text;
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

static _Noreturn void
print_help(void)
{
    puts("usage: poolmalloc SUBCOMMAND [options] ...\n\n"
         "Runs programs on poolmalloc, looks into programs that do, and says whether it would help.\n");
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        printf("  %-8s %s\n", table[i].name, table[i].summary);
    puts("\n  poolmalloc SUBCOMMAND --help    its options, -h too; poolmalloc-SUBCOMMAND(1) has more\n"
         "  poolmalloc --version, -V        the version\n\n"
         "exit status:");
#define PRINT(name, number, text) printf("  %3d  %s\n", number, text);
    PM_STATUS_TABLE(PRINT)
#undef PRINT
    pm_command_help("");
}

int
main(int count, char **arguments)
{
    if (count < 2)
        pm_command_usage("name a subcommand");
    const char *name = arguments[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && count == 2))
        print_help();
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        print_version();
    char *help[] = {NULL, arguments[2], "--help", NULL};
    if (strcmp(name, "help") == 0) {
        name = arguments[2];
        count = 3;
        arguments = help;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(name, table[i].name) == 0) {
            pm_command_name = table[i].name;
            return table[i].run(count - 1, arguments + 1);
        }
    pm_command_usage(name[0] == '-' ? "there is no option %s" : "there is no subcommand %s", name);
}
