/* SPDX-License-Identifier: MIT
 *
 * What all object benchmarks share: clocks, random numbers, and the lines that the runner reads: `name value unit`. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The compiler forgets what it knows of memory: a pair of operations that cancel each other stays. */
#define BARRIER() __asm__ volatile("" ::: "memory")
/* As BARRIER, and the pointer may have been stored anywhere. */
#define ESCAPE(pointer) __asm__ volatile("" : : "g"(pointer) : "memory")

static inline double bench_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* User and system time of all threads, helpers of a collector too: other processes of the machine do not count. */
static inline double bench_cpu(void)
{
    return bench_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static inline void bench_each(const char *name, double seconds, double operations)
{
    printf("%s %.6f ns\n", name, seconds * 1e9 / operations);
}

static inline void bench_checksum(uint64_t sum)
{
    printf("checksum %llu -\n", (unsigned long long)sum);
}

/* The same sequence in every language: a product of less than 53 bits is exact wherever numbers are doubles. */
static inline uint32_t bench_random(uint32_t *state)
{
    *state = (uint32_t)(((uint64_t)*state * 48271u) % 2147483647u);
    return *state;
}

#endif
