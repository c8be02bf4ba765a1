/* SPDX-License-Identifier: MIT
 *
 * Graphs of objects: trees, lists, documents, rings, hubs, and large populations. */
#include "peer.h"

/* ---- Binary trees (the Benchmarks Game) ---- */

static struct node *build(int depth)
{
    struct node *node = NEW(node);
    if (depth > 0) {
        node->left = build(depth - 1);
        node->right = build(depth - 1);
    }
    return node;
}

static uint64_t check(const struct node *node)
{
    return node->left == NULL ? 1 : 1 + check(node->left) + check(node->right);
}

uint64_t trees_work(int depth);
uint64_t trees_work(int depth)
{
    uint64_t nodes = 0;
    struct node *tree = build(depth + 1);
    nodes += check(tree);
    RELEASE(node, tree);
    struct node *lasting = build(depth);
    for (int small = 4; small <= depth; small += 2)
        for (int i = 0; i < 1 << (depth - small + 4); i++) {
            tree = build(small);
            nodes += check(tree);
            RELEASE(node, tree);
        }
    nodes += check(lasting);
    RELEASE(node, lasting);
    return nodes;
}

static void trees(uint64_t depth, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    double start = bench_cpu();
    uint64_t nodes = trees_work((int)depth);
    bench_each("each", bench_cpu() - start, (double)nodes);
    bench_checksum(nodes);
    peer_end();
}

/* ---- GCBench (Ellis, Kovac, Boehm): trees built from above and from below beside a lasting tree and array ---- */

static uint64_t gcbench_nodes;

static struct tree *tree_new(struct tree *left, struct tree *right)
{
    struct tree *tree = NEW(tree);
    gcbench_nodes++;
    tree->left = left;
    tree->right = right;
    return tree;
}

static void populate(int depth, struct tree *tree)
{
    if (depth <= 0)
        return;
    REPLACE(tree, &tree->left, tree_new(NULL, NULL));
    REPLACE(tree, &tree->right, tree_new(NULL, NULL));
    populate(depth - 1, tree->left);
    populate(depth - 1, tree->right);
}

static struct tree *from_below(int depth)
{
    if (depth <= 0)
        return tree_new(NULL, NULL);
    struct tree *left = from_below(depth - 1);
    return tree_new(left, from_below(depth - 1));
}

static void gcbench(uint64_t stretch, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    double start = bench_cpu();
    RELEASE(tree, from_below((int)stretch));
    struct tree *lasting = tree_new(NULL, NULL);
    populate((int)stretch - 2, lasting);
    double *numbers = malloc(500000 * sizeof *numbers);
    for (int i = 0; i < 500000; i++)
        numbers[i] = 1.0 / (i + 1);
    ESCAPE(numbers);
    for (int depth = 4; depth <= (int)stretch - 2; depth += 2) {
        int times = 2 * ((2 << stretch) - 1) / ((2 << depth) - 1);
        for (int i = 0; i < times; i++) {
            struct tree *tree = tree_new(NULL, NULL);
            populate(depth, tree);
            RELEASE(tree, tree);
        }
        for (int i = 0; i < times; i++)
            RELEASE(tree, from_below(depth));
    }
    ESCAPE(lasting);
    RELEASE(tree, lasting);
    free(numbers);
    bench_each("each", bench_cpu() - start, (double)gcbench_nodes);
    bench_checksum(gcbench_nodes);
    peer_end();
}

/* ---- Linked lists of `length` nodes, two million in all: built, walked, dropped ---- */

static void list(uint64_t total, uint64_t length)
{
    peer_start(0);
    uint64_t walked = 0;
    double start = bench_cpu();
    for (uint64_t done = 0; done < total; done += length) {
        struct node *first = NULL;
        for (uint64_t i = 0; i < length; i++) {
            struct node *node = NEW(node);
            node->right = first;
            first = node;
        }
        for (struct node *node = first; node != NULL; node = node->right)
            walked++;
        RELEASE(node, first);
    }
    bench_each("each", bench_cpu() - start, (double)total);
    bench_checksum(walked);
    peer_end();
}

/* ---- A JSON document: a tree of values with texts, a fifth of it replaced, dropped ---- */

static uint64_t json_values;

static struct value *json_build(int depth, uint32_t *random)
{
    struct value *value = NEW(value);
    json_values++;
    uint32_t dice = bench_random(random);
    value->number = dice;
    if (dice % 3 == 0) {
        value->text = NEW(text);
        memcpy(value->text->bytes, "some text", 10);
    }
    if (depth > 0)
        for (int i = 0; i < 8; i++) {
            struct value *child = json_build(depth - 1, random);
            child->next = value->child; /* the reference moves from one to the other */
            value->child = child;
        }
    return value;
}

/* Replaces every fifth value's members, two levels above the leaves. */
static void json_edit(struct value *value, int depth, uint32_t *random)
{
    if (depth == 2) {
        if (bench_random(random) % 5 == 0) {
            struct value *fresh = json_build(1, random);
            fresh->next = value->child->next == NULL ? NULL : RETAIN(value->child->next);
            REPLACE(value, &value->child, fresh);
        }
        return;
    }
    for (struct value *child = value->child; child != NULL; child = child->next)
        json_edit(child, depth - 1, random);
}

static void json(uint64_t documents, uint64_t depth)
{
    peer_start(0);
    uint32_t random = 42;
    double start = bench_cpu();
    for (uint64_t i = 0; i < documents; i++) {
        struct value *document = json_build((int)depth, &random);
        json_edit(document, (int)depth, &random);
        RELEASE(value, document);
    }
    bench_each("each", bench_cpu() - start, (double)json_values);
    bench_checksum(json_values);
    peer_end();
}

/* ---- A flood without cycles: `size` nodes that live on while each is retained and released, twice ---- */

static void flood(uint64_t size, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    struct node **held = ROOTS(size);
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        held[i] = NEW(node);
        if (i > 0)
            held[i]->left = RETAIN(held[i / 2]);
    }
    for (int times = 0; times < 2; times++)
        for (uint64_t i = 0; i < size; i++) {
            struct node *node = RETAIN(held[i]);
            ESCAPE(node);
            RELEASE(node, node);
        }
    for (uint64_t i = size; i-- > 0;)
        RELEASE(node, held[i]);
    bench_each("each", bench_cpu() - start, (double)size);
    FREE_ROOTS(held);
    peer_end();
}

/* ---- Growth to `size` live objects: the last tenth should cost what the first does ---- */

static void growth(uint64_t size, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    struct node **held = ROOTS(size);
    double start = bench_cpu(), first = 0, last = 0;
    for (uint64_t i = 0; i < size; i++) {
        held[i] = NEW(node);
        if (i > 0)
            held[i]->left = RETAIN(held[i / 2]);
        if (i + 1 == size / 2)
            first = bench_cpu() - start;
    }
    last = bench_cpu() - start;
    bench_each("each", last, (double)size);
    printf("second-half %.4f ratio\n", (last - first) / first);
#if defined(PEER_POOLOBJECT)
    struct po_heap_stats stats;
    po_heap_get_stats(kinds.heap, &stats);
    printf("bytes-each %.4f bytes\nheld-each %.4f bytes\n", (double)stats.bytes / (double)stats.objects,
           (double)stats.held_bytes / (double)stats.objects);
#endif
    for (uint64_t i = size; i-- > 0;)
        RELEASE(node, held[i]);
    FREE_ROOTS(held);
    peer_end();
}

#if PEER_CYCLES
/* A line of /proc/self/status, in bytes. */
static double status(const char *name)
{
    char line[128];
    double bytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            bytes = strtod(line + strlen(name), NULL) * 1024;
    if (file != NULL)
        fclose(file);
    return bytes;
}

/* From here on the peak of resident memory is counted anew. */
static void reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file != NULL) {
        fputs("5", file);
        fclose(file);
    }
}

/* ---- Full collections of `size` live objects, that refer to each other in order or (`random`) at random ---- */

static void full(uint64_t size, uint64_t at_random)
{
    peer_start(0);
    struct node **all = ROOTS(size);
    for (uint64_t i = 0; i < size; i++)
        all[i] = NEW(node);
    uint32_t random = 42;
    if (at_random)
        for (uint64_t i = size - 1; i > 0; i--) {
            uint64_t other = bench_random(&random) % (i + 1);
            struct node *node = all[i];
            all[i] = all[other];
            all[other] = node;
        }
    for (uint64_t i = 0; i + 1 < size; i++) /* a list through all; the array is dropped, but for its first */
        all[i]->right = all[i + 1];
    struct node **root = ROOTS(1);
    *root = all[0];
    FREE_ROOTS(all);
    COLLECT(); /* the first one moves everything to the old generation, and is not what is measured */
    reset_peak();
    double before = status("VmRSS:"), start = bench_cpu();
    int times = size > 2000000 ? 1 : 3;
    for (int i = 0; i < times; i++)
        COLLECT();
    bench_each("each", (bench_cpu() - start) / times, (double)size);
    printf("collector-bytes %.4f bytes\n", (status("VmHWM:") - before) / (double)size);
    RELEASE(node, *root);
    FREE_ROOTS(root);
    peer_end();
}

/* ---- Rings of `length`, `total` nodes in all, dropped as soon as they are made ---- */

static void rings(uint64_t total, uint64_t length)
{
    peer_start(0);
    double start = bench_cpu();
    for (uint64_t done = 0; done < total; done += length) {
        struct node *first = NEW(node), *last = first;
        for (uint64_t i = 1; i < length; i++) {
            struct node *node = NEW(node);
            last->right = node;
            last = node;
        }
        last->right = RETAIN(first);
        RELEASE(node, first);
    }
    COLLECT();
    bench_each("each", bench_cpu() - start, (double)total);
    peer_end();
}

/* ---- A hub: one live object with `spokes` live neighbours that refer to it, while small rings through it die ---- */

static void hub(uint64_t total, uint64_t spokes)
{
    peer_start(0);
#if defined(PEER_POOLOBJECT)
    struct node **hub = po_new_items(kinds.hub, spokes);
#else
    struct node **hub = GC_MALLOC_UNCOLLECTABLE(spokes * sizeof *hub);
#endif
    for (uint64_t i = 0; i < spokes; i++) {
        hub[i] = NEW(node);
        hub[i]->left = RETAIN((struct node *)hub);
    }
    double start = bench_cpu();
    for (uint64_t done = 0; done < total; done += 2) {
        struct node *one = NEW(node), *other = NEW(node);
        one->left = RETAIN((struct node *)hub);
        one->right = other;
        other->right = RETAIN(one);
        RELEASE(node, one);
    }
    COLLECT();
    bench_each("each", bench_cpu() - start, (double)total);
    RELEASE(hub, hub);
    peer_end();
}

/* ---- Web requests: rings of five with ten kilobytes in each, a window of the last hundred alive ---- */

static void request(uint64_t total, uint64_t unused)
{
    (void)unused;
    peer_start(0);
    struct request **window = ROOTS(100);
    uint64_t sum = 0;
    double start = bench_cpu();
    for (uint64_t i = 0; i < total; i++) {
        struct request *ring[5];
        for (int k = 0; k < 5; k++) {
            ring[k] = NEW(request);
            memset(ring[k]->payload, k, 1000);
        }
        for (int k = 0; k < 5; k++) {
            ring[k]->next = RETAIN(ring[(k + 1) % 5]);
            ring[k]->back = RETAIN(ring[(k + 4) % 5]);
        }
        for (int k = 1; k < 5; k++)
            RELEASE(request, ring[k]);
        sum += (uint64_t)ring[0]->next->payload[7];
        REPLACE(request, &window[i % 100], ring[0]);
    }
    bench_each("each", bench_cpu() - start, (double)total);
    bench_checksum(sum);
    for (int k = 0; k < 100; k++)
        RELEASE(request, window[k]);
    FREE_ROOTS(window);
    peer_end();
}
#endif

const struct bench_entry graphs_cases[] = {
    {"trees", trees},
    {"gcbench", gcbench},
    {"list", list},
    {"json", json},
    {"flood", flood},
    {"growth", growth},
#if PEER_CYCLES
    {"full", full},
    {"rings", rings},
    {"hub", hub},
    {"request", request},
#endif
    {NULL, NULL},
};
