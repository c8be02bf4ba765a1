// SPDX-License-Identifier: MIT
//
// objects-shared_ptr CASE SIZE [PARAMETER]: the cases that std::shared_ptr on glibc's malloc can do. The graphs are those
// of graphs.c. The program has started a thread before, so counts are atomic, as in every program of several threads.
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "bench.h"

namespace {

struct node {
    std::shared_ptr<node> left, right;
};
using ref = std::shared_ptr<node>;

struct leaf {
    int64_t value = 0, other = 0;
};

struct tree {
    std::shared_ptr<tree> left, right;
    int32_t i = 0, j = 0;
};

struct text {
    char bytes[24] = {};
};

struct value {
    std::shared_ptr<value> next, child;
    std::shared_ptr<::text> text;
    double number = 0;
};

void count(uint64_t size, uint64_t)
{
    auto object = std::make_shared<leaf>();
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        auto same = object;
        ESCAPE(same.get());
    }
    bench_each("each", bench_cpu() - start, double(size));
}

template <class Kind>
void pair(uint64_t size, uint64_t batch)
{
    std::vector<std::shared_ptr<Kind>> blocks(1000);
    uint64_t width = batch ? 1000 : 1;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i += width) {
        for (uint64_t k = 0; k < width; k++) {
            blocks[k] = std::make_shared<Kind>();
            ESCAPE(blocks[k].get());
        }
        for (uint64_t k = 0; k < width; k++)
            blocks[k].reset();
    }
    bench_each("each", bench_cpu() - start, double(size));
}

ref build(int depth)
{
    auto node = std::make_shared<struct node>();
    if (depth > 0) {
        node->left = build(depth - 1);
        node->right = build(depth - 1);
    }
    return node;
}

uint64_t check(const node &node)
{
    return node.left ? 1 + check(*node.left) + check(*node.right) : 1;
}

uint64_t trees_work(int depth)
{
    uint64_t nodes = check(*build(depth + 1));
    auto lasting = build(depth);
    for (int small = 4; small <= depth; small += 2)
        for (int i = 0; i < 1 << (depth - small + 4); i++)
            nodes += check(*build(small));
    return nodes + check(*lasting);
}

void trees(uint64_t depth, uint64_t)
{
    double start = bench_cpu();
    uint64_t nodes = trees_work(int(depth));
    bench_each("each", bench_cpu() - start, double(nodes));
    bench_checksum(nodes);
}

uint64_t gcbench_nodes;

std::shared_ptr<tree> tree_new()
{
    gcbench_nodes++;
    return std::make_shared<tree>();
}

void populate(int depth, tree &tree)
{
    if (depth <= 0)
        return;
    tree.left = tree_new();
    tree.right = tree_new();
    populate(depth - 1, *tree.left);
    populate(depth - 1, *tree.right);
}

std::shared_ptr<tree> from_below(int depth)
{
    auto tree = std::shared_ptr<struct tree>();
    if (depth <= 0)
        return tree_new();
    auto left = from_below(depth - 1), right = from_below(depth - 1);
    tree = tree_new();
    tree->left = std::move(left);
    tree->right = std::move(right);
    return tree;
}

void gcbench(uint64_t stretch, uint64_t)
{
    double start = bench_cpu();
    from_below(int(stretch)).reset();
    auto lasting = tree_new();
    populate(int(stretch) - 2, *lasting);
    std::vector<double> numbers(500000);
    for (int i = 0; i < 500000; i++)
        numbers[i] = 1.0 / (i + 1);
    ESCAPE(numbers.data());
    for (int depth = 4; depth <= int(stretch) - 2; depth += 2) {
        int times = 2 * ((2 << stretch) - 1) / ((2 << depth) - 1);
        for (int i = 0; i < times; i++)
            populate(depth, *tree_new());
        for (int i = 0; i < times; i++)
            from_below(depth).reset();
    }
    lasting.reset();
    bench_each("each", bench_cpu() - start, double(gcbench_nodes));
    bench_checksum(gcbench_nodes);
}

void list(uint64_t total, uint64_t length)
{
    uint64_t walked = 0;
    double start = bench_cpu();
    for (uint64_t done = 0; done < total; done += length) {
        ref first;
        for (uint64_t i = 0; i < length; i++) {
            auto node = std::make_shared<struct node>();
            node->right = std::move(first);
            first = std::move(node);
        }
        for (node *node = first.get(); node != nullptr; node = node->right.get())
            walked++;
    }
    bench_each("each", bench_cpu() - start, double(total));
    bench_checksum(walked);
}

uint64_t json_values;

std::shared_ptr<value> json_build(int depth, uint32_t *random)
{
    auto value = std::make_shared<struct value>();
    json_values++;
    uint32_t dice = bench_random(random);
    value->number = dice;
    if (dice % 3 == 0) {
        value->text = std::make_shared<text>();
        memcpy(value->text->bytes, "some text", 10);
    }
    if (depth > 0)
        for (int i = 0; i < 8; i++) {
            auto child = json_build(depth - 1, random);
            child->next = std::move(value->child);
            value->child = std::move(child);
        }
    return value;
}

void json_edit(value &value, int depth, uint32_t *random)
{
    if (depth == 2) {
        if (bench_random(random) % 5 == 0) {
            auto fresh = json_build(1, random);
            fresh->next = value.child->next;
            value.child = std::move(fresh);
        }
        return;
    }
    for (auto child = value.child.get(); child != nullptr; child = child->next.get())
        json_edit(*child, depth - 1, random);
}

void json(uint64_t documents, uint64_t depth)
{
    uint32_t random = 42;
    double start = bench_cpu();
    for (uint64_t i = 0; i < documents; i++)
        json_edit(*json_build(int(depth), &random), int(depth), &random);
    bench_each("each", bench_cpu() - start, double(json_values));
    bench_checksum(json_values);
}

void flood(uint64_t size, uint64_t)
{
    std::vector<ref> held(size);
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        held[i] = std::make_shared<node>();
        if (i > 0)
            held[i]->left = held[i / 2];
    }
    for (int times = 0; times < 2; times++)
        for (uint64_t i = 0; i < size; i++) {
            auto same = held[i];
            ESCAPE(same.get());
        }
    while (!held.empty())
        held.pop_back();
    bench_each("each", bench_cpu() - start, double(size));
}

void growth(uint64_t size, uint64_t)
{
    std::vector<ref> held(size);
    double start = bench_cpu(), first = 0;
    for (uint64_t i = 0; i < size; i++) {
        held[i] = std::make_shared<node>();
        if (i > 0)
            held[i]->left = held[i / 2];
        if (i + 1 == size / 2)
            first = bench_cpu() - start;
    }
    double last = bench_cpu() - start;
    bench_each("each", last, double(size));
    printf("second-half %.4f ratio\n", (last - first) / first);
    while (!held.empty())
        held.pop_back();
}

void weak(uint64_t size, uint64_t)
{
    uint64_t alive = 0;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        auto object = std::make_shared<node>();
        std::weak_ptr<node> reference = object;
        alive += reference.lock() != nullptr;
        object.reset();
        alive += reference.lock() != nullptr;
    }
    bench_each("each", bench_cpu() - start, double(size));
    bench_checksum(alive);
}

void weak_get(uint64_t size, uint64_t)
{
    auto object = std::make_shared<node>();
    std::weak_ptr<node> reference = object;
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++) {
        auto got = reference.lock();
        ESCAPE(got.get());
    }
    bench_each("each", bench_cpu() - start, double(size));
}

uint64_t finalized;

struct counted : node {
    ~counted()
    {
        finalized++;
    }
};

void finalize(uint64_t size, uint64_t)
{
    double start = bench_cpu();
    for (uint64_t i = 0; i < size; i++)
        ESCAPE(std::make_shared<counted>().get());
    bench_each("each", bench_cpu() - start, double(size));
    bench_checksum(finalized);
}

std::atomic<int> waiting;

double thread_seconds(const std::shared_ptr<leaf> *shared, uint64_t size)
{
    waiting--;
    while (waiting.load() > 0)
        std::this_thread::yield();
    double start = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    if (shared != nullptr)
        for (uint64_t i = 0; i < size; i++) {
            auto same = *shared;
            ESCAPE(same.get());
        }
    else
        trees_work(int(size));
    return bench_clock(CLOCK_THREAD_CPUTIME_ID) - start;
}

double together(int count, const std::shared_ptr<leaf> *shared, uint64_t size, double *cpu)
{
    waiting = count;
    double spent[2] = {}, start = bench_clock(CLOCK_MONOTONIC);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; i++)
        threads.emplace_back([&, i] { spent[i] = thread_seconds(shared, size); });
    for (auto &thread : threads)
        thread.join();
    *cpu = (spent[0] + spent[1]) / count;
    return bench_clock(CLOCK_MONOTONIC) - start;
}

void threads_own(uint64_t depth, uint64_t)
{
    double alone_cpu, both_cpu;
    double alone = together(1, nullptr, depth, &alone_cpu), both = together(2, nullptr, depth, &both_cpu);
    printf("speedup %.4f times\nspeedup-cpu %.4f times\n", 2 * alone / both, 2 * alone_cpu / both_cpu);
}

void threads_shared(uint64_t size, uint64_t)
{
    auto object = std::make_shared<leaf>();
    double cpu;
    together(2, &object, size, &cpu);
    bench_each("each", cpu, double(size));
}

const struct {
    const char *name;
    void (*run)(uint64_t, uint64_t);
} cases[] = {
    {"count", count},
    {"pair-leaf", pair<leaf>},
    {"pair-tracked", pair<node>},
    {"trees", trees},
    {"gcbench", gcbench},
    {"list", list},
    {"json", json},
    {"flood", flood},
    {"growth", growth},
    {"weak", weak},
    {"weak-get", weak_get},
    {"finalize", finalize},
    {"threads-own", threads_own},
    {"threads-shared", threads_shared},
};

} // namespace

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (auto &entry : cases)
            puts(entry.name);
        return 0;
    }
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: objects-shared_ptr --list | CASE SIZE [PARAMETER]\n");
        return 2;
    }
    std::thread([] {}).join(); // from here on the counts are atomic
    for (auto &entry : cases)
        if (strcmp(entry.name, argv[1]) == 0) {
            entry.run(strtoull(argv[2], nullptr, 10), argc == 4 ? strtoull(argv[3], nullptr, 10) : 0);
            return 0;
        }
    fprintf(stderr, "objects-shared_ptr: no case '%s'\n", argv[1]);
    return 2;
}
