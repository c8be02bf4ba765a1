/* SPDX-License-Identifier: MIT
 *
 * What libpoolmalloc_advise.so writes and poolmalloc advise reads: a file for each process, mapped by it, so that the
 * counts are there whatever way the process ends. Both come from one build; a file of another size is not read.
 */
#ifndef PM_ADVISE_RECORD_H
#define PM_ADVISE_RECORD_H

#include <stdint.h>

#include "geometry.h"

#define PM_RECORD_MAGIC UINT64_C(0x31657369766461) /* "advise1" */
#define PM_RECORD_DIRECTORY "POOLMALLOC_ADVISE_DIRECTORY"
#define PM_RECORD_BITS 64 /* numbers by their length in bits: 0, 1, 2..3, 4..7, ... */

struct pm_record_blocks {
    uint64_t requests, bytes;
    uint64_t frees, frees_elsewhere; /* by another thread than the one that allocated it */
    /* Of blocks that were freed: how much was allocated by the process between the two, and how long it took. */
    uint64_t age_requests[PM_RECORD_BITS], age_bytes[PM_RECORD_BITS], age_nanoseconds[PM_RECORD_BITS];
};

struct pm_record {
    uint64_t magic;
    char program[64];
    uint64_t threads; /* that ever allocated or freed */
    uint64_t sizes[PM_SMALL_MAX + 1]; /* requests of each size */
    uint64_t larger[PM_RECORD_BITS];  /* and of more than that */
    struct pm_record_blocks small, large;
    uint64_t reallocations;
    uint64_t live_bytes, live_bytes_peak; /* both kinds */
};

static inline unsigned
pm_record_bits(uint64_t number)
{
    unsigned bits = number != 0 ? 64 - (unsigned)__builtin_clzll(number) : 0;
    return bits < PM_RECORD_BITS ? bits : PM_RECORD_BITS - 1;
}

#endif
