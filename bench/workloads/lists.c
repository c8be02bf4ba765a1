/* SPDX-License-Identifier: MIT
 *
 * lists: many linked lists grown at the same time, thinned out, refilled, walked and torn down.
 *
 * Models queues, adjacency lists, chains of events: the nodes of one list are allocated far apart in time, with nodes
 * of other lists and other sizes in between, and then followed one by one. The walk is timed by itself; it is bound by
 * how many cache lines and pages the allocator spread each list over. The pattern is that of the Olden benchmarks
 * (Rogers, Carlisle, Reppy and Hendren, 1995), `health` above all. */
#include "common.h"

static uint64_t lists = 2000, nodes = 400000, rounds = 3, walks = 2, seed = 1;
static struct bench_sizes sizes;

/* Followed by a payload; `size` is that of the whole block. */
struct node {
    struct node *next;
    uint32_t size, value;
};

struct list {
    struct node *first, **last;
};

static struct node *make_node(struct bench_rng *rng)
{
    uint64_t bits = bench_random(rng);
    size_t size = sizeof(struct node) + bench_size_of(&sizes, (uint32_t)bits);
    struct node *node = bench_malloc(size);
    *node = (struct node){NULL, (uint32_t)size, (uint32_t)(bits >> 32)};
    bench_mark(node + 1, size - sizeof *node, node->value);
    return node;
}

static void drop_node(struct node *node)
{
    bench_check(node + 1, node->size - sizeof *node, node->value);
    bench_free(node);
}

static void append(struct list *table, uint64_t count, struct bench_rng *rng)
{
    for (uint64_t i = 0; i < count; i++) {
        struct list *list = &table[bench_below(rng, (uint32_t)lists)];
        *list->last = make_node(rng);
        list->last = &(*list->last)->next;
    }
}

/* Removes every node whose value says so, about half of them; returns how many. */
static uint64_t thin_out(struct list *table, uint32_t bit)
{
    uint64_t removed = 0;
    for (uint64_t i = 0; i < lists; i++) {
        struct node **link = &table[i].first;
        while (*link != NULL) {
            struct node *node = *link;
            if (node->value >> bit & 1) {
                *link = node->next;
                drop_node(node);
                removed++;
            } else {
                link = &node->next;
            }
        }
        table[i].last = link;
    }
    return removed;
}

static uint64_t walk(const struct list *table)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < lists; i++)
        for (const struct node *node = table[i].first; node != NULL; node = node->next)
            sum = sum * 3 + node->value;
    return sum;
}

static void tear_down(struct list *table)
{
    for (uint64_t i = 0; i < lists; i++) {
        for (struct node *node = table[i].first, *next; node != NULL; node = next) {
            next = node->next;
            drop_node(node);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"lists", BENCH_COUNT, &lists, "lists", 1, 100000000, NULL},
        {"nodes", BENCH_COUNT, &nodes, "nodes in all lists", 1, 1000000000, NULL},
        {"sizes", BENCH_SIZES, &sizes, "bytes of payload in a node", 0, 0, "8-100"},
        {"rounds", BENCH_COUNT, &rounds, "rounds of thinning out and refilling", 0, 31, NULL},
        {"walks", BENCH_COUNT, &walks, "walks over all lists after each round", 0, 1000000, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of sizes and contents", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "linked lists grown together, thinned out, refilled, walked", options);

    struct bench_rng rng = bench_rng_stream(seed, 0);
    struct list *table = bench_array(lists, sizeof *table);
    uint64_t checksum = 0, made = nodes;
    double walking = 0, start = bench_now();
    for (uint64_t i = 0; i < lists; i++)
        table[i].last = &table[i].first;
    append(table, nodes, &rng);
    for (uint64_t round = 0; round <= rounds; round++) {
        if (round > 0) {
            uint64_t removed = thin_out(table, (uint32_t)round);
            append(table, removed, &rng);
            made += removed;
        }
        double before = bench_now();
        for (uint64_t pass = 0; pass < walks; pass++)
            checksum = checksum * 5 + walk(table);
        walking += bench_now() - before;
    }
    tear_down(table);
    double end = bench_now();
    bench_report("walk", walking, "s");
    bench_report_time(end - start, made);
    bench_report_checksum(checksum);
    return 0;
}
