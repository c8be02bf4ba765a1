/* SPDX-License-Identifier: MIT
 *
 * Repeatable random numbers (SplitMix64), and the seed of a run: TEST_SEED from the environment, else a constant, so
 * that a run without it is the same every time. The seed is printed.
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct random {
    uint64_t state;
};

static inline uint64_t
random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0..limit-1, for a limit below 2^32. */
static inline uint64_t
random_below(struct random *random, uint64_t limit)
{
    return ((random_next(random) >> 32) * limit) >> 32;
}

/* low..high, both included. */
static inline uint64_t
random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low + random_below(random, high - low + 1);
}

static inline uint64_t
test_seed(const char *what)
{
    const char *text = getenv("TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : UINT64_C(20240229);
    fprintf(stderr, "%s: TEST_SEED=%llu\n", what, (unsigned long long)seed);
    return seed;
}

/* What TEST_SECONDS says, else `usual`. */
static inline double
test_seconds(double usual)
{
    const char *text = getenv("TEST_SECONDS");
    return text != NULL ? strtod(text, NULL) : usual;
}

#endif
