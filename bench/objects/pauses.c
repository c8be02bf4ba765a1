/* SPDX-License-Identifier: MIT
 *
 * Pauses of a program with many live objects, and how much garbage floats.
 *
 * Half as many slots as `size` each hold a pair of nodes, the first of which refers to the second. A step replaces ten
 * slots, taken at random, by fresh pairs; one pair of a hundred (or all of them) is a ring, which only a collector can
 * find. The time of each step is taken by the thread's own clock, so a step that the machine interrupted does not look
 * like a pause. */
#include "peer.h"

#if defined(PEER_POOLOBJECT)
static uint64_t destroyed;

static void count_destroyed(void *object)
{
    (void)object;
    destroyed++;
}
#endif

static int compare(const void *left, const void *right)
{
    uint32_t one = *(const uint32_t *)left, other = *(const uint32_t *)right;
    return (one > other) - (one < other);
}

static struct node *pair(bool ring)
{
    struct node *one = NEW(node), *other = NEW(node);
    one->right = other;
    if (ring)
        other->right = RETAIN(one);
    return one;
}

static void report(uint32_t *steps, size_t count)
{
    qsort(steps, count, sizeof *steps, compare);
    printf("p50 %.3f us\np99 %.3f us\np999 %.3f us\nlongest %.3f us\n", steps[count / 2] * 1e-3,
           steps[count - count / 100] * 1e-3, steps[count - count / 1000] * 1e-3, steps[count - 1] * 1e-3);
}

/* `percent` of the pairs are rings; with 1000 added, max_pause_ns is 2 ms (incremental collection for Boehm). */
static void pauses(uint64_t size, uint64_t parameter)
{
    uint64_t percent = parameter % 1000;
    peer_start(parameter >= 1000 ? 2000000 : 0);
    uint64_t slots = size / 2, count = (slots > 1000000 ? slots : 1000000) / 10;
    struct node **held = ROOTS(slots);
    uint32_t *steps = malloc(count * sizeof *steps), random = 42;
    memset(steps, 0, count * sizeof *steps);
    for (uint64_t i = 0; i < slots; i++)
        held[i] = pair(bench_random(&random) % 100 < percent);
#if defined(PEER_POOLOBJECT)
    struct po_gc_stats before[3], after[3];
    po_gc_get_stats(kinds.heap, before);
#endif
    double begin = bench_cpu(), start = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < count; i++) {
        for (int k = 0; k < 10; k++) {
            struct node **slot = &held[bench_random(&random) % slots];
            REPLACE(node, slot, pair(bench_random(&random) % 100 < percent));
        }
        double end = bench_clock(CLOCK_THREAD_CPUTIME_ID);
        steps[i] = (uint32_t)((end - start) * 1e9);
        start = end;
    }
    bench_each("each", bench_cpu() - begin, (double)count * 10);
#if defined(PEER_POOLOBJECT)
    po_gc_get_stats(kinds.heap, after);
    for (int i = 0; i < 3; i++)
        printf("collector-longest-%d %.3f us\n", i, (double)after[i].pause_ns_max * 1e-3);
    printf("full-collections %.0f -\nfull-garbage %.0f objects\n",
           (double)(after[2].collections - before[2].collections), (double)(after[2].collected - before[2].collected));
#endif
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = steps[i] > steps[longest] ? i : longest;
    printf("longest-at %.4f -\n", (double)longest / (double)count);
    report(steps, count);
    free(steps);
    for (uint64_t i = 0; i < slots; i++)
        RELEASE(node, held[i]);
    FREE_ROOTS(held);
    peer_end();
}

#if defined(PEER_POOLOBJECT)
/* How much garbage floats at most: objects made less those destroyed and those alive, in bytes. */
static void floating(uint64_t size, uint64_t parameter)
{
    static const uint16_t two[] = {0, 8, PO_END};
    uint64_t percent = parameter % 1000, slots = size / 2, most = 0;
    peer_start(parameter >= 1000 ? 2000000 : 0);
    kinds.node = po_type_create(kinds.heap, &(struct po_type_spec){
        .name = "counted", .size = sizeof(struct node), .references = two, .destroy = count_destroyed});
    struct node **held = ROOTS(slots);
    uint32_t random = 42;
    for (uint64_t i = 0; i < slots; i++)
        held[i] = pair(bench_random(&random) % 100 < percent);
    uint64_t made = 2 * slots, times = slots * 5 > 2000000 ? slots * 5 : 2000000;
    for (uint64_t i = 0; i < times; i++) {
        struct node **slot = &held[bench_random(&random) % slots];
        REPLACE(node, slot, pair(bench_random(&random) % 100 < percent));
        made += 2;
        uint64_t garbage = made - destroyed - 2 * slots;
        if (garbage > most)
            most = garbage;
    }
    printf("floating %.0f bytes\nlive %.0f bytes\n", (double)most * 24, (double)slots * 48);
    for (uint64_t i = 0; i < slots; i++)
        RELEASE(node, held[i]);
    FREE_ROOTS(held);
    peer_end();
}
#endif

const struct bench_entry pauses_cases[] = {
    {"pauses", pauses},
#if defined(PEER_POOLOBJECT)
    {"floating", floating},
#endif
    {NULL, NULL},
};
