/* SPDX-License-Identifier: MIT
 *
 * sizes.c: distributions of block sizes (struct bench_sizes) from their text form. */
#include "common.h"
#include "real_sizes.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

struct weight {
    uint32_t size;
    double count;
};

enum { MAX_WEIGHTS = 65536 };

static void parse_range(struct bench_sizes *sizes, const char *text, const char *whole)
{
    char *end;
    unsigned long min = strtoul(text, &end, 10), max = min;
    if (end != text && *end == '-')
        max = strtoul(end + 1, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || min < BENCH_SIZE_MIN || max < min || max > BENCH_SIZE_MAX)
        bench_usage_error("bad sizes '%s': want a range such as 16-512, within %d-%d", whole, BENCH_SIZE_MIN,
                          BENCH_SIZE_MAX);
    sizes->min = (uint32_t)min;
    sizes->max = (uint32_t)max;
}

/* Fills the table with the sizes at the middle of 2048 equal shares of the weights between min and max. */
static void table_from_weights(struct bench_sizes *sizes, const struct weight *weights, size_t count,
                               const char *whole)
{
    double total = 0, passed = 0;
    size_t entry = 0;
    for (size_t i = 0; i < count; i++)
        if (weights[i].size >= sizes->min && weights[i].size <= sizes->max)
            total += weights[i].count;
    if (total <= 0)
        bench_usage_error("no sizes between %u and %u in '%s'", sizes->min, sizes->max, whole);
    for (size_t i = 0; i < count; i++) {
        if (weights[i].size < sizes->min || weights[i].size > sizes->max)
            continue;
        passed += weights[i].count;
        while (entry < BENCH_SIZE_TABLE && ((double)entry + 0.5) * total / BENCH_SIZE_TABLE < passed)
            sizes->table[entry++] = weights[i].size;
    }
    while (entry > 0 && entry < BENCH_SIZE_TABLE) { /* the last share, lost to rounding */
        sizes->table[entry] = sizes->table[entry - 1];
        entry++;
    }
}

/* Density 1/size: the quantile at q is min * (max/min)^q. */
static void table_log(struct bench_sizes *sizes)
{
    for (size_t i = 0; i < BENCH_SIZE_TABLE; i++) {
        double q = ((double)i + 0.5) / BENCH_SIZE_TABLE;
        sizes->table[i] = (uint32_t)(sizes->min * pow((double)sizes->max / sizes->min, q));
    }
}

/* Density max - size: the quantile at q is max - (max - min) * sqrt(1 - q). */
static void table_linear(struct bench_sizes *sizes)
{
    for (size_t i = 0; i < BENCH_SIZE_TABLE; i++) {
        double q = ((double)i + 0.5) / BENCH_SIZE_TABLE;
        sizes->table[i] = (uint32_t)(sizes->max - (sizes->max - sizes->min) * sqrt(1 - q));
    }
}

static void table_real(struct bench_sizes *sizes, const char *whole)
{
    static struct weight weights[sizeof bench_real_sizes / sizeof bench_real_sizes[0]];
    size_t count = sizeof weights / sizeof weights[0];
    for (size_t i = 0; i < count; i++)
        weights[i] = (struct weight){bench_real_sizes[i].size, bench_real_sizes[i].weight};
    table_from_weights(sizes, weights, count, whole);
}

static void table_file(struct bench_sizes *sizes, const char *path, const char *whole)
{
    static struct weight weights[MAX_WEIGHTS];
    size_t count = 0;
    uint32_t size;
    double occurrences;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        bench_usage_error("cannot open the sizes file %s", path);
    while (count < MAX_WEIGHTS && fscanf(file, "%u %lf", &size, &occurrences) == 2) {
        if (count > 0 && size < weights[count - 1].size)
            bench_usage_error("%s: the sizes must ascend, %u follows %u", path, size, weights[count - 1].size);
        weights[count++] = (struct weight){size < BENCH_SIZE_MIN ? BENCH_SIZE_MIN : size, occurrences};
    }
    bool whole_file_read = feof(file);
    fclose(file);
    if (!whole_file_read)
        bench_usage_error("%s: want lines 'size count', at most %d, found another after %zu", path, MAX_WEIGHTS, count);
    table_from_weights(sizes, weights, count, whole);
}

void bench_sizes_parse(struct bench_sizes *sizes, const char *text)
{
    *sizes = (struct bench_sizes){.min = BENCH_SIZE_MIN, .max = BENCH_SIZE_MAX};
    if (strncmp(text, "linear:", 7) == 0) {
        parse_range(sizes, text + 7, text);
        table_linear(sizes);
    } else if (strncmp(text, "log:", 4) == 0) {
        parse_range(sizes, text + 4, text);
        table_log(sizes);
    } else if (strncmp(text, "real:", 5) == 0 || strcmp(text, "real") == 0) {
        if (text[4] == ':')
            parse_range(sizes, text + 5, text);
        table_real(sizes, text);
    } else if (strncmp(text, "file:", 5) == 0) {
        table_file(sizes, text + 5, text);
    } else {
        parse_range(sizes, text, text);
        sizes->uniform = true;
    }
}
