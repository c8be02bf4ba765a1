/* SPDX-License-Identifier: MIT
 *
 * How much free memory to keep. Whoever has free pools (a heap, the region) counts here those that the kernel still
 * holds memory for, and gives some back as soon as there are more than the limit. The limit follows the recent past: a
 * page that is needed again soon after it was given back raises it by one; what nobody needed for a period lowers it.
 * A program whose memory comes and goes in waves is slow for one wave, and then keeps what the waves need.
 *
 * The rate at which the limit falls bounds what being wrong costs: a page that was given back and is needed again
 * costs 2 to 3 microseconds (madvise, fault, zeroing).
 *
 * The kernel may refuse to take memory back: the program has locked it (mlock(2)), or lives in a sandbox. Such pages stay
 * dirty. After some refusals nothing more is tried before the period is over, unless it is asked for (malloc_trim(3)):
 * a few locked pages do not keep the others, and a program that has locked all of its memory does not try in vain with
 * every slow path.
 *
 * Layer 2: uses options.h. Nothing here locks: the caller holds the lock of the heap or of the region.
 */
#ifndef PM_KEEP_H
#define PM_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

/* POOLMALLOC_PURGE, in the order of its values in options.c. */
enum pm_purge_policy { PM_PURGE_EAGER, PM_PURGE_BALANCED, PM_PURGE_NEVER };

#define PM_KEEP_FALL_PER_MS 32u /* pools: 128 MiB a second */
#define PM_KEEP_SHARE 64u       /* besides, one free pool is kept for so many in use */
#define PM_KEEP_STEP 16u        /* at least so many are given back at a time */
#define PM_KEEP_REFUSALS 16u    /* after so many nothing more is tried in the period */

struct pm_keep {
    size_t dirty;   /* pools: free, with memory */
    size_t least;   /* the fewest there were in this period */
    size_t learned; /* what the recent past adds to the limit */
    size_t given;   /* given back recently; needed again, each of them was too early */
    uint64_t aged_at;
    uint32_t base;     /* the least limit */
    uint32_t refusals; /* by the kernel, in this period */
};

static inline size_t
pm_keep_limit(const struct pm_keep *keep, size_t used)
{
    switch (pm_options.purge) {
    case PM_PURGE_EAGER:
        return 0;
    case PM_PURGE_NEVER:
        return SIZE_MAX;
    default:
        return keep->base + used / PM_KEEP_SHARE + keep->learned;
    }
}

/* What to come down to when there are more than `limit`. */
static inline size_t
pm_keep_target(size_t limit)
{
    size_t less = limit / 8 > PM_KEEP_STEP ? limit / 8 : PM_KEEP_STEP;
    return limit > less ? limit - less : 0;
}

/* Whether there is more than `limit`, and some of it can be given back. */
static inline bool
pm_keep_is_above(const struct pm_keep *keep, size_t limit)
{
    return keep->dirty > limit && keep->refusals < PM_KEEP_REFUSALS;
}

/* A period is over. What the program did without in it need not be kept, and what was given back before is
 * forgotten. */
static inline void
pm_keep_age(struct pm_keep *keep, uint64_t now)
{
    if (now <= keep->aged_at)
        return; /* the thread read the clock before another one that was here first */
    uint64_t fall = (now - keep->aged_at) * PM_KEEP_FALL_PER_MS;
    uint64_t surplus = fall < keep->least ? fall : keep->least;
    keep->aged_at = now;
    keep->learned -= surplus < keep->learned ? surplus : keep->learned;
    keep->given -= fall < keep->given ? fall : keep->given;
    keep->least = keep->dirty;
    keep->refusals = 0;
}

/* The limit will fall no further, or there is no more than is kept in any case. */
static inline bool
pm_keep_settled(const struct pm_keep *keep, size_t used)
{
    return keep->learned == 0 || keep->dirty <= keep->base + used / PM_KEEP_SHARE;
}

static inline void
pm_keep_count(struct pm_keep *keep, size_t more, size_t less)
{
    keep->dirty += more;
    keep->dirty -= less;
    if (keep->dirty < keep->least)
        keep->least = keep->dirty;
}

/* Pools without memory are taken into use. */
static inline void
pm_keep_regret(struct pm_keep *keep, size_t pools)
{
    size_t regretted = pools < keep->given ? pools : keep->given;
    keep->given -= regretted;
    keep->learned += regretted;
}

#endif
