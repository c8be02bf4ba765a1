/* SPDX-License-Identifier: MIT
 *
 * options.c: the command line of a workload program, read with getopt_long from the program's table of options. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "common.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_OPTIONS = 24 };

static uint64_t parse_count(const struct bench_option *option, const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    uint64_t unit = *end == 'k' ? 1000 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 1;
    bool bad = end == text || *text == '-' || errno != 0 || end[unit > 1] != '\0';
    if (bad || __builtin_mul_overflow(value, unit, &value) || value < option->min || value > option->max)
        bench_usage_error("--%s wants a number from %" PRIu64 " to %" PRIu64 ", not '%s'", option->name, option->min,
                          option->max, text);
    return value;
}

static double parse_seconds(const struct bench_option *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 86400))
        bench_usage_error("--%s wants seconds, not '%s'", option->name, text);
    return value;
}

/* The index of `text` among the words, which one space separates. */
static int parse_choice(const struct bench_option *option, const char *text)
{
    size_t length = strlen(text);
    int index = 0;
    for (const char *word = option->words; *word != '\0'; index++) {
        size_t word_length = strcspn(word, " ");
        if (word_length == length && memcmp(word, text, length) == 0)
            return index;
        word += word_length + (word[word_length] == ' ');
    }
    bench_usage_error("--%s wants one of: %s; not '%s'", option->name, option->words, text);
}

static void print_default(const struct bench_option *option)
{
    switch (option->kind) {
    case BENCH_COUNT:
        printf(" [%" PRIu64 "]", *(const uint64_t *)option->target);
        break;
    case BENCH_SECONDS:
        printf(" [%g]", *(const double *)option->target);
        break;
    case BENCH_CHOICE:
        printf(" (%s)", option->words);
        break;
    case BENCH_SIZES:
        printf(" [%s]", option->words);
        break;
    case BENCH_FLAG:
        break;
    }
}

static void help(const char *purpose, const struct bench_option *options)
{
    printf("%s: %s\n\n", program_invocation_short_name, purpose);
    for (const struct bench_option *option = options; option->name != NULL; option++) {
        printf("  --%-12s %s", option->name, option->help);
        print_default(option);
        putchar('\n');
    }
    printf("\nSizes: 40, 16-512, linear:16-8000, log:16-8000, real, real:8-512 or file:PATH (lines 'size count').\n");
    exit(0);
}

static void apply(const struct bench_option *option, const char *text)
{
    switch (option->kind) {
    case BENCH_COUNT:
        *(uint64_t *)option->target = parse_count(option, text);
        break;
    case BENCH_SECONDS:
        *(double *)option->target = parse_seconds(option, text);
        break;
    case BENCH_CHOICE:
        *(int *)option->target = parse_choice(option, text);
        break;
    case BENCH_SIZES:
        bench_sizes_parse(option->target, text);
        break;
    case BENCH_FLAG:
        *(bool *)option->target = true;
        break;
    }
}

/* Names the object that serves malloc, so that a library that was meant to be preloaded and is not cannot be missed.
 * With BENCH_EXPECT set, another one than that (the end of its path) is an error. */
static void report_server(void)
{
    Dl_info info;
    char line[4200];
    const char *expected = getenv("BENCH_EXPECT");
    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) == 0 || info.dli_fname == NULL)
        bench_fail("cannot tell which object serves malloc");
    size_t have = strlen(info.dli_fname), want = expected != NULL ? strlen(expected) : 0;
    if (want > have || memcmp(info.dli_fname + have - want, expected != NULL ? expected : "", want) != 0)
        bench_fail("malloc is served by %s, not by %s", info.dli_fname, expected);
    int length = snprintf(line, sizeof line, "malloc %s object\n", info.dli_fname);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        bench_fail("cannot write to standard output");
}

void bench_start(int argc, char **argv, const char *purpose, const struct bench_option *options)
{
    struct option table[MAX_OPTIONS + 2] = {{"help", no_argument, NULL, MAX_OPTIONS}};
    size_t count = 0;
    for (; options[count].name != NULL && count < MAX_OPTIONS; count++) {
        int has_argument = options[count].kind == BENCH_FLAG ? no_argument : required_argument;
        table[count + 1] = (struct option){options[count].name, has_argument, NULL, (int)count};
        if (options[count].kind == BENCH_SIZES)
            bench_sizes_parse(options[count].target, options[count].words);
    }
    opterr = 0;
    for (int found; (found = getopt_long(argc, argv, ":", table, NULL)) != -1;) {
        if (found == MAX_OPTIONS)
            help(purpose, options);
        if (found == '?' || found == ':')
            bench_usage_error("%s '%s'; --help lists the options",
                              found == ':' ? "no value for" : "unknown option", argv[optind - 1]);
        apply(&options[found], optarg);
    }
    if (optind < argc)
        bench_usage_error("unexpected argument '%s'; --help lists the options", argv[optind]);
    report_server();
}
