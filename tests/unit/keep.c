/* SPDX-License-Identifier: MIT
 *
 * keep.h: the limit by policy, what it comes down to, how it learns from what was given back too early, and how it
 * forgets; for single steps, for a program in waves, and for random sequences against what must hold of any.
 */
#include "keep.h"

#include "support/check.h"
#include "support/random.h"

#include <criterion/criterion.h>

enum { BASE = 32, STEPS = 200000 };

static struct pm_keep keep;

static void
start(void)
{
    pm_options.purge = PM_PURGE_BALANCED;
    keep = (struct pm_keep){.base = BASE, .aged_at = 1000};
}

/* ---- The limit ---- */

Test(keep, limit_by_policy, .init = start)
{
    keep.learned = 100;
    for (size_t used = 0; used < 100000; used += 777) {
        pm_options.purge = PM_PURGE_EAGER;
        REQUIRE(pm_keep_limit(&keep, used) == 0, "eager: %zu", pm_keep_limit(&keep, used));
        pm_options.purge = PM_PURGE_NEVER;
        REQUIRE(pm_keep_limit(&keep, used) == SIZE_MAX, "never: %zu", pm_keep_limit(&keep, used));
        pm_options.purge = PM_PURGE_BALANCED;
        REQUIRE(pm_keep_limit(&keep, used) == BASE + used / 64 + 100, "%zu with %zu in use",
                pm_keep_limit(&keep, used), used);
    }
}

/* An eighth lower, or a step; never below nothing. */
Test(keep, target)
{
    for (size_t limit = 0; limit < 10000; limit++) {
        size_t target = pm_keep_target(limit);
        REQUIRE(target == 0 || limit - target >= PM_KEEP_STEP, "%zu for %zu", target, limit);
        REQUIRE(limit < PM_KEEP_STEP || limit - target >= limit / 8, "%zu for %zu", target, limit);
        REQUIRE(limit - target <= (limit / 8 > PM_KEEP_STEP ? limit / 8 : PM_KEEP_STEP), "%zu for %zu", target, limit);
    }
}

/* ---- What was given back too early ---- */

Test(keep, regret_never_exceeds_what_was_given, .init = start)
{
    pm_keep_regret(&keep, 10);
    REQUIRE(keep.learned == 0 && keep.given == 0, "learned %zu of nothing given", keep.learned);
    keep.given = 25;
    pm_keep_regret(&keep, 10);
    REQUIRE(keep.learned == 10 && keep.given == 15, "%zu, %zu", keep.learned, keep.given);
    pm_keep_regret(&keep, 0);
    REQUIRE(keep.learned == 10 && keep.given == 15, "%zu, %zu", keep.learned, keep.given);
    pm_keep_regret(&keep, 1000);
    REQUIRE(keep.learned == 25 && keep.given == 0, "%zu, %zu", keep.learned, keep.given);
    REQUIRE(keep.base == BASE && keep.dirty == 0, "the other fields");
}

/* ---- Time ---- */

/* So many free pools that nobody ever needs. */
static void
lie_idle(size_t pools)
{
    keep.dirty = keep.least = pools;
}

/* 32 pools a millisecond, what is learned and what is given alike, and down to nothing. */
Test(keep, time_lowers_both, .init = start)
{
    lie_idle(100000);
    keep.learned = 10000;
    keep.given = 1000;
    pm_keep_age(&keep, 1000);
    REQUIRE(keep.learned == 10000 && keep.given == 1000, "aged in no time");
    pm_keep_age(&keep, 1001);
    REQUIRE(keep.learned == 9968 && keep.given == 968, "%zu, %zu", keep.learned, keep.given);
    pm_keep_age(&keep, 1051);
    REQUIRE(keep.learned == 8368 && keep.given == 0, "%zu, %zu", keep.learned, keep.given);
    pm_keep_age(&keep, 1312);
    REQUIRE(keep.learned == 16 && keep.given == 0, "%zu, %zu", keep.learned, keep.given);
    pm_keep_age(&keep, 1000000);
    REQUIRE(keep.learned == 0 && keep.given == 0, "%zu, %zu", keep.learned, keep.given);
}

/* What was needed in a period, however short, is not what it could do without. */
Test(keep, only_what_nobody_needed_is_unlearned, .init = start)
{
    keep.learned = 1000;
    pm_keep_count(&keep, 900, 0);
    pm_keep_age(&keep, 2000);
    REQUIRE(keep.learned == 1000 && keep.least == 900, "%zu: in the period that ends the pools were in use",
            keep.learned);
    pm_keep_count(&keep, 0, 700);
    pm_keep_count(&keep, 700, 0);
    REQUIRE(keep.dirty == 900 && keep.least == 200, "the fewest were %zu", keep.least);
    pm_keep_age(&keep, 3000);
    REQUIRE(keep.learned == 800 && keep.least == 900, "%zu are left of 1000, 700 were needed", keep.learned);
    pm_keep_count(&keep, 100, 300);
    REQUIRE(keep.dirty == 700 && keep.least == 700, "the fewest were %zu", keep.least);
    pm_keep_age(&keep, 3010);
    REQUIRE(keep.learned == 480 && keep.least == 700, "%zu are left after 10 ms", keep.learned);
    pm_keep_age(&keep, 4000);
    REQUIRE(keep.learned == 0, "%zu are left", keep.learned);
}

/* The same time in many steps or in one. */
Test(keep, the_rate_does_not_depend_on_how_often_it_is_asked, .init = start)
{
    struct random random = {test_seed("keep")};
    lie_idle(1000000);
    keep.learned = 500000;
    keep.given = 250000;
    struct pm_keep once = keep;
    uint64_t now = 1000;
    while (now < 12000) {
        now += random_below(&random, 50);
        pm_keep_age(&keep, now);
    }
    pm_keep_age(&once, now);
    REQUIRE(keep.learned == once.learned && keep.given == once.given, "%zu, %zu instead of %zu, %zu", keep.learned,
            keep.given, once.learned, once.given);
}

/* A thread reads the clock, waits for the lock, and gets it after one that read the clock later: no time has passed. */
Test(keep, a_clock_read_before_the_last_one, .init = start)
{
    lie_idle(10000);
    keep.learned = 5000;
    keep.given = 2000;
    pm_keep_age(&keep, 1010);
    REQUIRE(keep.learned == 4680 && keep.given == 1680, "%zu, %zu", keep.learned, keep.given);
    pm_keep_count(&keep, 0, 9000);
    pm_keep_count(&keep, 9000, 0);
    pm_keep_age(&keep, 1006);
    REQUIRE(keep.learned == 4680 && keep.given == 1680, "%zu learned and %zu given are left of 4680 and 1680 %s",
            keep.learned, keep.given, "by a clock that was read 4 ms earlier");
    pm_keep_age(&keep, 1010);
    REQUIRE(keep.least == 1000 && keep.aged_at == 1010, "a period of no time ended");
    pm_keep_age(&keep, 1011);
    REQUIRE(keep.learned == 4648 && keep.given == 1648, "%zu, %zu: some time has counted twice", keep.learned,
            keep.given);
}

/* ---- A program in waves ---- */

/* Frees `pools` at `now`, when a period ends; returns how many are given back. */
static size_t
drop(size_t pools, uint64_t now)
{
    pm_keep_count(&keep, pools, 0);
    pm_keep_age(&keep, now);
    size_t limit = pm_keep_limit(&keep, 0);
    size_t purged = keep.dirty > limit ? keep.dirty - pm_keep_target(limit) : 0;
    pm_keep_count(&keep, 0, purged);
    keep.given += purged;
    return purged;
}

/* Takes `pools` into use, those with memory first. */
static void
rise(size_t pools)
{
    size_t with_memory = pools < keep.dirty ? pools : keep.dirty;
    pm_keep_count(&keep, 0, with_memory);
    pm_keep_regret(&keep, pools - with_memory);
}

/* Slow for one wave; those that follow need it all, and lose nothing. */
Test(keep, a_wave_is_learned_after_one_cycle, .init = start)
{
    uint64_t now = 1000;
    REQUIRE(drop(5000, now) == 5000 - (BASE - PM_KEEP_STEP), "the first drop");
    rise(5000);
    REQUIRE(keep.learned == 5000 - (BASE - PM_KEEP_STEP), "learned %zu", keep.learned);
    for (int wave = 0; wave < 50; wave++) {
        size_t purged = drop(5000, now);
        REQUIRE(purged == 0, "wave %d: %zu given back", wave, purged);
        rise(5000);
        now += 10;
    }
}

/* However long the waves are, no more is given back in vain than the first time. */
Test(keep, what_being_wrong_costs, .init = start)
{
    static const unsigned periods[] = {1, 7, 40, 150, 400};
    for (size_t i = 0; i < sizeof periods / sizeof periods[0]; i++) {
        size_t regretted = 0;
        start();
        size_t first = drop(3000, 1000);
        rise(3000);
        for (uint64_t now = 1000; now < 21000; now += periods[i]) {
            regretted += drop(3000, now);
            rise(3000);
        }
        REQUIRE(first > 2900 && regretted == 0, "waves of %u ms: %zu pools given back in vain", periods[i], regretted);
    }
}

/* Waves get lower: what they no longer need goes, and what they need stays, but for what the limit comes down by. */
Test(keep, lower_waves_keep_less, .init = start)
{
    uint64_t now = 1000;
    drop(5000, now);
    rise(5000);
    drop(5000, now);
    size_t regretted = 0;
    for (int wave = 0; wave < 200; wave++) {
        now += 10;
        rise(2000);
        size_t purged = drop(2000, now);
        regretted += wave >= 100 ? purged : 0;
    }
    REQUIRE(keep.dirty <= 2000 + BASE && keep.dirty >= 2000 - 2000 / 8 - BASE, "%zu are kept", keep.dirty);
    REQUIRE(regretted <= 2000 / 4, "%zu given back in vain in 100 waves", regretted);
}

/* When the waves end, what they taught is gone after so much time as it takes, and a period. */
Test(keep, what_was_learned_is_forgotten, .init = start)
{
    uint64_t now = 1000;
    drop(4000, now);
    rise(4000);
    drop(4000, now);
    size_t learned = keep.learned, held = keep.dirty;
    REQUIRE(held == 4000, "%zu are kept", held);
    for (size_t expected = learned, idle = 0; keep.learned > 0; idle = keep.dirty) {
        size_t fall = idle < PM_KEEP_FALL_PER_MS ? idle : PM_KEEP_FALL_PER_MS;
        expected -= fall < expected ? fall : expected;
        drop(0, ++now);
        REQUIRE(keep.learned == expected, "%zu after %zu ms instead of %zu", keep.learned, (size_t)(now - 1000),
                expected);
        REQUIRE(keep.dirty <= pm_keep_limit(&keep, 0), "%zu are kept, the limit is %zu", keep.dirty,
                pm_keep_limit(&keep, 0));
    }
    REQUIRE(now - 1000 <= learned / PM_KEEP_FALL_PER_MS + 4, "it took %zu ms", (size_t)(now - 1000));
    REQUIRE(keep.dirty <= BASE, "%zu are kept", keep.dirty);
}

/* Whatever happens: what is learned was given before, and nothing is counted twice or lost. */
Test(keep, random_sequences, .init = start)
{
    struct random random = {test_seed("keep")};
    size_t given = 0;
    uint64_t now = 1000;
    for (int i = 0; i < STEPS; i++) {
        size_t pools = random_below(&random, 1 + random_below(&random, 3000));
        size_t before = keep.learned + keep.given;
        switch (random_below(&random, 3)) {
        case 0:
            now += random_below(&random, 30);
            size_t aged_by = (size_t)(now - keep.aged_at) * PM_KEEP_FALL_PER_MS;
            size_t purged = drop(pools, now);
            given += purged;
            REQUIRE(keep.learned + keep.given <= before + purged, "step %d: more than there was", i);
            REQUIRE(keep.learned + keep.given + 2 * aged_by >= before + purged, "step %d: aged by more", i);
            REQUIRE(keep.dirty <= pm_keep_limit(&keep, 0), "step %d: %zu are kept", i, keep.dirty);
            break;
        default:
            rise(pools);
            REQUIRE(keep.learned + keep.given == before, "step %d: regret made or lost some", i);
        }
        REQUIRE(keep.least <= keep.dirty, "step %d: the fewest were %zu, more than %zu", i, keep.least, keep.dirty);
        REQUIRE(keep.learned <= given && keep.given <= given, "step %d: learned %zu of %zu", i, keep.learned, given);
    }
}

/* ---- When time gives back no more ---- */

static void
let_a_period_pass(size_t used)
{
    pm_keep_age(&keep, keep.aged_at + 100);
    size_t limit = pm_keep_limit(&keep, used);
    if (keep.dirty > limit)
        pm_keep_count(&keep, 0, keep.dirty - pm_keep_target(limit));
}

/* A program that has stopped: the limit falls for some periods, and then no further period changes anything. */
Test(keep, settled_when_no_period_gives_back_more, .init = start)
{
    struct random random = {test_seed("keep")};
    for (int i = 0; i < 2000; i++) {
        size_t used = random_below(&random, 100000), dirty = random_below(&random, 20000), periods = 0;
        keep = (struct pm_keep){.base = BASE, .aged_at = 1000, .dirty = dirty, .least = dirty};
        keep.learned = random_below(&random, 10000);
        do
            let_a_period_pass(used);
        while (!pm_keep_settled(&keep, used) && ++periods < 10000);
        REQUIRE(periods < 1000, "case %d: not settled after %zu periods", i, periods);
        size_t kept = keep.dirty;
        for (int more = 0; more < 500; more++)
            let_a_period_pass(used);
        REQUIRE(keep.dirty == kept && kept <= BASE + used / 64, "case %d: %zu are kept, later %zu", i, kept,
                keep.dirty);
    }
}
