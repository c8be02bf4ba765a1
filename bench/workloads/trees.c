/* SPDX-License-Identifier: MIT
 *
 * trees: search trees built, aged, walked and torn down.
 *
 * Models a compiler's or an interpreter's data: nodes of one small size with a name of another size beside each, built
 * together, partly replaced as the program goes on, and read far more often than changed. The walk is timed by itself:
 * where the allocator put the blocks decides how fast the program runs after malloc has returned. After GCBench (Ellis,
 * Kovac and Boehm) and the binary-trees program of the Computer Language Benchmarks Game, with ageing added: --replace
 * per cent of all subtrees of 64 nodes are freed and built again in random order between building and walking. */
#include "common.h"

enum { SUBTREE_LEVELS = 6 };

static uint64_t depth = 19, trees = 2, node_size = 48, replace_percent = 30, walks = 5, seed = 1;
static struct bench_sizes name_sizes;

/* Followed by padding up to node_size. */
struct node {
    struct node *left, *right;
    unsigned char *name;
    uint32_t name_size, value;
};

static struct node *build(unsigned levels, struct bench_rng *rng)
{
    if (levels == 0)
        return NULL;
    struct node *node = bench_malloc(node_size);
    uint64_t bits = bench_random(rng);
    node->value = (uint32_t)(bits >> 32);
    node->name_size = (uint32_t)bench_size_of(&name_sizes, (uint32_t)bits);
    node->name = bench_malloc(node->name_size);
    bench_mark(node->name, node->name_size, node->value);
    node->left = build(levels - 1, rng);
    node->right = build(levels - 1, rng);
    return node;
}

static uint64_t walk(const struct node *node)
{
    if (node == NULL)
        return 0;
    bench_check(node->name, node->name_size, node->value);
    return walk(node->left) + walk(node->right) * 3 + node->value;
}

static void tear_down(struct node *node)
{
    if (node == NULL)
        return;
    tear_down(node->left);
    tear_down(node->right);
    bench_check(node->name, node->name_size, node->value);
    bench_free(node->name);
    bench_free(node);
}

/* Follows random turns down to a subtree of SUBTREE_LEVELS and builds it anew. */
static void age(struct node *root, uint64_t times, struct bench_rng *rng)
{
    for (; times > 0; times--) {
        struct node *node = root, **link = &node;
        uint64_t turns = bench_random(rng);
        for (unsigned level = SUBTREE_LEVELS; level < depth; level++, turns >>= 1)
            link = turns & 1 ? &(*link)->left : &(*link)->right;
        tear_down(*link);
        *link = build(SUBTREE_LEVELS, rng);
        if (link == &node)
            bench_fail("the whole tree would be replaced");
    }
}

static void report(double start, const double *ends, uint64_t nodes)
{
    bench_report("build", ends[0] - start, "s");
    bench_report("age", ends[1] - ends[0], "s");
    bench_report("walk", ends[2] - ends[1], "s");
    bench_report("teardown", ends[3] - ends[2], "s");
    bench_report_time(ends[3] - start, nodes);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"depth", BENCH_COUNT, &depth, "levels of a tree", SUBTREE_LEVELS + 1, 30, NULL},
        {"trees", BENCH_COUNT, &trees, "trees", 1, 1000, NULL},
        {"node", BENCH_COUNT, &node_size, "bytes of a node", sizeof(struct node), 4096, NULL},
        {"sizes", BENCH_SIZES, &name_sizes, "sizes of the names", 0, 0, "real:8-64"},
        {"replace", BENCH_COUNT, &replace_percent, "per cent of small subtrees replaced", 0, 10000, NULL},
        {"walks", BENCH_COUNT, &walks, "walks over all nodes", 0, 1000000, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of contents", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "search trees built, aged, walked and torn down", options);

    struct bench_rng rng = bench_rng_stream(seed, 0);
    struct node **roots = bench_array(trees, sizeof(struct node *));
    uint64_t nodes = trees * ((1u << depth) - 1), checksum = 0;
    double ends[4], start = bench_now();
    for (uint64_t i = 0; i < trees; i++)
        roots[i] = build((unsigned)depth, &rng);
    ends[0] = bench_now();
    for (uint64_t i = 0; i < trees; i++)
        age(roots[i], ((uint64_t)1 << (depth - SUBTREE_LEVELS)) * replace_percent / 100, &rng);
    ends[1] = bench_now();
    for (uint64_t pass = 0; pass < walks; pass++)
        for (uint64_t i = 0; i < trees; i++)
            checksum = checksum * 5 + walk(roots[i]);
    ends[2] = bench_now();
    for (uint64_t i = 0; i < trees; i++)
        tear_down(roots[i]);
    ends[3] = bench_now();
    report(start, ends, nodes);
    bench_report_checksum(checksum);
    return 0;
}
