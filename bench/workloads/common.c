/* SPDX-License-Identifier: MIT
 *
 * common.c: see common.h. Sizes are in sizes.c, options in options.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "common.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, LINE = 512, THREAD_STACK = 256 << 10 };

/* ---- Failure ---------------------------------------------------------------------------------------------------- */

static void write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            _exit(3);
        text += written;
        length -= (size_t)written;
    }
}

static void complain(const char *format, va_list arguments)
{
    char line[LINE];
    int used = snprintf(line, sizeof line, "%s: ", program_invocation_short_name);
    used += vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    if (used > LINE - 2)
        used = LINE - 2;
    line[used] = '\n';
    write_all(STDERR_FILENO, line, (size_t)used + 1);
}

void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
    _exit(1);
}

void bench_usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
    _exit(2);
}

void bench_damaged(const void *block, size_t size, uint64_t want, uint64_t found)
{
    bench_fail("block %p of %zu bytes is damaged: its mark is %016" PRIx64 ", found %016" PRIx64, block, size, want,
               found);
}

/* ---- Time and random numbers ------------------------------------------------------------------------------------ */

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct bench_rng bench_rng_stream(uint64_t seed, uint64_t index)
{
    struct bench_rng rng = {seed};
    uint64_t base = bench_random(&rng);
    rng.state = base ^ ((index + 1) * 0xd1342543de82ef95u);
    bench_random(&rng);
    return rng;
}

void bench_shuffle(uint32_t *indices, size_t count, struct bench_rng *rng)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = bench_below(rng, (uint32_t)i);
        uint32_t other = indices[j];
        indices[j] = indices[i - 1];
        indices[i - 1] = other;
    }
}

/* ---- Arrays and threads ----------------------------------------------------------------------------------------- */

void *bench_array(size_t count, size_t size)
{
    size_t bytes = count * size > 0 ? count * size : 1;
    void *array = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (array == MAP_FAILED)
        bench_fail("cannot map %zu bytes for an array", bytes);
    return array;
}

void bench_thread(pthread_t *thread, void *(*body)(void *), void *context)
{
    pthread_attr_t attributes;
    pthread_t ignored;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    if (thread == NULL)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(thread != NULL ? thread : &ignored, &attributes, body, context);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        bench_fail("cannot start a thread: %s", strerror(error));
}

struct runner {
    void (*body)(void *);
    void *context;
    pthread_barrier_t *ready;
};

static void *run_one(void *argument)
{
    struct runner *runner = argument;
    pthread_barrier_wait(runner->ready);
    runner->body(runner->context);
    return NULL;
}

double bench_parallel(size_t count, void (*body)(void *context), void *contexts, size_t size)
{
    if (count == 1) {
        double start = bench_now();
        body(contexts);
        return bench_now() - start;
    }
    pthread_barrier_t ready;
    pthread_t *threads = bench_array(count, sizeof *threads);
    struct runner *runners = bench_array(count, sizeof *runners);

    pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) {
        runners[i] = (struct runner){body, (char *)contexts + i * size, &ready};
        bench_thread(&threads[i], run_one, &runners[i]);
    }
    pthread_barrier_wait(&ready);
    double start = bench_now();
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    double seconds = bench_now() - start;
    pthread_barrier_destroy(&ready);
    munmap(threads, count * sizeof *threads);
    munmap(runners, count * sizeof *runners);
    return seconds;
}

/* ---- Memory of this process ------------------------------------------------------------------------------------- */

/* Reads a small file of /proc without stdio, whose buffer would come from the allocator being measured. */
static void read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (length < 0)
        bench_fail("cannot read %s: %s", path, strerror(errno));
    text[length] = '\0';
    close(fd);
}

uint64_t bench_resident_exact(void)
{
    char text[4096];
    read_small("/proc/self/smaps_rollup", text, sizeof text);
    const char *row = strstr(text, "\nRss:");
    if (row == NULL)
        bench_fail("no Rss in /proc/self/smaps_rollup");
    return strtoull(row + 5, NULL, 10) * 1024;
}

uint64_t bench_resident_quick(void)
{
    char text[256], *end;
    read_small("/proc/self/statm", text, sizeof text);
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Adds `page` to an open-addressed set of 2^bits entries, in which 0 is a free one; 1 when it was not there yet. */
static size_t add_page(uintptr_t *set, unsigned bits, uintptr_t page)
{
    size_t mask = ((size_t)1 << bits) - 1;
    size_t index = (size_t)((page * 0x9e3779b97f4a7c15u) >> (64 - bits));
    while (set[index] != 0 && set[index] != page)
        index = (index + 1) & mask;
    size_t added = set[index] == 0;
    set[index] = page;
    return added;
}

uint64_t bench_page_floor(void *const *blocks, const uint32_t *sizes, size_t count)
{
    size_t distinct = 0, most = 1;
    unsigned bits = 1;
    for (size_t i = 0; i < count; i++)
        most += blocks[i] != NULL ? sizes[i] / PAGE + 2 : 0;
    while ((size_t)1 << bits < most * 2)
        bits++;

    /* Not populated: with few distinct pages most of the set is never touched. */
    size_t bytes = sizeof(uintptr_t) << bits;
    uintptr_t *set = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (set == MAP_FAILED)
        bench_fail("cannot map %zu bytes to count pages", bytes);
    for (size_t i = 0; i < count; i++) {
        if (blocks[i] == NULL)
            continue;
        uintptr_t last = ((uintptr_t)blocks[i] + sizes[i] - 1) / PAGE;
        for (uintptr_t page = (uintptr_t)blocks[i] / PAGE; page <= last; page++)
            distinct += add_page(set, bits, page);
    }
    munmap(set, bytes);
    return (uint64_t)distinct * PAGE;
}

void bench_trim(void)
{
    int (*trim)(size_t);
    *(void **)&trim = dlsym(RTLD_DEFAULT, "malloc_trim");
    if (trim != NULL)
        trim(0);
}

/* ---- Reporting -------------------------------------------------------------------------------------------------- */

static void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void report_line(const char *format, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    write_all(STDOUT_FILENO, line, (size_t)length);
}

void bench_report(const char *name, double value, const char *unit)
{
    report_line("%s %.9g %s\n", name, value, unit);
}

void bench_report_count(const char *name, uint64_t value, const char *unit)
{
    report_line("%s %" PRIu64 " %s\n", name, value, unit);
}

void bench_report_point(const char *series, double x, double y)
{
    report_line("series:%s %.6f %.9g\n", series, x, y);
}

void bench_report_time(double seconds, uint64_t operations)
{
    bench_report("time", seconds, "s");
    if (operations > 0)
        bench_report("per_operation", seconds * 1e9 / (double)operations, "ns");
}

void bench_report_checksum(uint64_t checksum)
{
    report_line("checksum %016" PRIx64 " -\n", checksum);
}
