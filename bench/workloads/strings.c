/* SPDX-License-Identifier: MIT
 *
 * strings: strings that grow by realloc, piece by piece, many at a time.
 *
 * Models text being put together: log lines, JSON output, tokens, protocol buffers. Each string grows by a few bytes at
 * a time until it reaches its length and is thrown away. With --growth exact every piece is a realloc (perl's and many
 * C programs' habit), with --growth half the capacity grows by one half (what most string libraries do). It measures
 * how often realloc can stay in place, what a move costs, and crossings from small to large blocks. Re-implements the
 * string-append pattern of the realloc tests that come with jemalloc and rpmalloc. */
#include "common.h"

enum { GROW_EXACT, GROW_HALF };

static uint64_t strings = 1000, operations = 10000000, limit = 400, piece = 24, seed = 1;
static int growth;

struct string {
    unsigned char *text;
    uint32_t length, capacity, target;
    unsigned char letter;
};

static void begin(struct string *string, struct bench_rng *rng)
{
    uint64_t bits = bench_random(rng);
    uint32_t target = 1 + bench_scale((uint32_t)bits, (uint32_t)limit);
    *string = (struct string){NULL, 0, 0, target, (unsigned char)(bits >> 32)};
}

/* A string of one letter has kept its contents if both ends and a place that moves with its length are that letter. */
static uint64_t finish(struct string *string)
{
    const unsigned char *text = string->text;
    uint32_t length = string->length, middle = string->target * 7u % length;
    if (text[0] != string->letter || text[middle] != string->letter || text[length - 1] != string->letter)
        bench_fail("a string of %u bytes has lost its contents in realloc", length);
    bench_free(string->text);
    return length;
}

static void append(struct string *string, uint32_t count)
{
    uint32_t needed = string->length + count;
    if (needed > string->capacity) {
        uint32_t half = string->capacity + string->capacity / 2;
        string->capacity = growth == GROW_HALF && half > needed ? half : needed;
        string->text = realloc(string->text, string->capacity);
        bench_escape(string->text);
        if (string->text == NULL)
            bench_fail("realloc to %u bytes returned NULL", string->capacity);
    }
    memset(string->text + string->length, string->letter, count);
    string->length = needed;
}

static uint64_t run(struct string *table, struct bench_rng *rng)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t bits = bench_random(rng);
        struct string *string = &table[bench_scale((uint32_t)(bits >> 32), (uint32_t)strings)];
        append(string, 1 + bench_scale((uint32_t)bits, (uint32_t)piece));
        if (string->length >= string->target) {
            sum += finish(string);
            begin(string, rng);
        }
    }
    return sum;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"strings", BENCH_COUNT, &strings, "strings that grow at a time", 1, 100000000, NULL},
        {"operations", BENCH_COUNT, &operations, "pieces appended in all", 1, UINT64_MAX, NULL},
        {"limit", BENCH_COUNT, &limit, "longest string aimed at", 1, BENCH_SIZE_MAX, NULL},
        {"piece", BENCH_COUNT, &piece, "longest piece", 1, 65536, NULL},
        {"growth", BENCH_CHOICE, &growth, "how capacity grows", 0, 0, "exact half"},
        {"seed", BENCH_COUNT, &seed, "seed of lengths and order", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "strings that grow by realloc", options);

    struct bench_rng rng = bench_rng_stream(seed, 0);
    struct string *table = bench_array(strings, sizeof *table);
    for (uint64_t i = 0; i < strings; i++)
        begin(&table[i], &rng);
    double start = bench_now();
    uint64_t checksum = run(table, &rng);
    for (uint64_t i = 0; i < strings; i++)
        if (table[i].text != NULL)
            checksum = checksum * 3 + finish(&table[i]);
    bench_report_time(bench_now() - start, operations);
    bench_report_checksum(checksum);
    return 0;
}
