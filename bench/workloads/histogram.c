/* SPDX-License-Identifier: MIT
 *
 * histogram.c: a library to preload that counts which sizes a program asks malloc for. real_sizes.h is made with it,
 * and anyone can measure their own program: the file it writes is what the workloads read with --sizes file:PATH.
 *
 *     BENCH_HISTOGRAM=/tmp/sizes LD_PRELOAD=build/bench/libhistogram.so program
 *
 * writes /tmp/sizes.PID, lines "size count". Works with glibc only, whose own entry points it forwards to. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZES = 65536 }; /* larger requests are counted together as the last one */

static uint64_t counts[SIZES + 1];

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static void count(size_t size)
{
    __atomic_fetch_add(&counts[size < SIZES ? size : SIZES], 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(number * size);
    return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size)
{
    count(size);
    return __libc_realloc(block, size);
}

__attribute__((destructor)) static void write_counts(void)
{
    char path[4096];
    const char *prefix = getenv("BENCH_HISTOGRAM");
    if (prefix == NULL)
        return;
    snprintf(path, sizeof path, "%s.%d", prefix, (int)getpid());
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return;
    for (size_t size = 0; size <= SIZES; size++)
        if (counts[size] > 0)
            fprintf(file, "%zu %llu\n", size, (unsigned long long)counts[size]);
    fclose(file);
}
