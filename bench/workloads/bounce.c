/* SPDX-License-Identifier: MIT
 *
 * bounce: hot blocks and cache lines that move between processors.
 *
 * Three modes. `active`: each thread allocates a small block, writes to it many times and frees it; when the allocator
 * gives two threads blocks of one cache line, they fight over the line although they share nothing. `passive`: the main
 * thread hands every thread one of its own neighbouring blocks, which the thread frees; an allocator that then lets
 * each thread reuse that very block has spread the main thread's cache line over all of them. Both are after the
 * cache-thrash and cache-scratch tests of Hoard (Berger, McKinley, Blumofe and Wilson, ASPLOS 2000). `handoff`: pairs
 * of threads pass one block to and fro; each frees what it receives and answers with a new block: the worst case of
 * remote frees, with nothing to batch. */
#include "common.h"

#include <sched.h>
#include <stdatomic.h>

enum { SPINS = 2000, LINE_BYTES = 64 };
enum { ACTIVE, PASSIVE, HANDOFF };

static uint64_t threads = 2, size = 8, operations = 200000, writes = 200, seed = 1;
static int mode;

struct context {
    uint64_t index, checksum;
    void *gift; /* passive: a block of the main thread */
    _Alignas(LINE_BYTES) _Atomic(uint64_t *) inbox;
};

static struct context *contexts;

static void scratch(struct context *context)
{
    if (context->gift != NULL) {
        bench_check(context->gift, size, context->index);
        bench_free(context->gift);
    }
    for (uint64_t i = 0; i < operations; i++) {
        volatile uint64_t *block = bench_malloc(size);
        *block = 0;
        for (uint64_t write = 0; write < writes; write++)
            *block = *block + context->index + 1;
        if (*block != writes * (context->index + 1))
            bench_damaged((const void *)block, size, writes * (context->index + 1), *block);
        context->checksum += *block;
        bench_free((void *)block);
    }
}

static uint64_t *receive(struct context *context)
{
    for (unsigned spins = 0;; spins++) {
        uint64_t *block = atomic_load_explicit(&context->inbox, memory_order_acquire);
        if (block != NULL) {
            atomic_store_explicit(&context->inbox, NULL, memory_order_relaxed);
            return block;
        }
        if (spins % SPINS == SPINS - 1)
            sched_yield();
    }
}

static void send(struct context *to, uint64_t value)
{
    uint64_t *block = bench_malloc(size);
    bench_mark(block, size, value);
    atomic_store_explicit(&to->inbox, block, memory_order_release);
}

/* Threads 2k and 2k+1 are a pair; the even one begins. */
static void hand_off(struct context *context)
{
    struct context *partner = &contexts[context->index ^ 1];
    for (uint64_t i = 0; i < operations; i++) {
        if (context->index % 2 == 0)
            send(partner, 2 * i);
        uint64_t expected = context->index % 2 == 0 ? 2 * i + 1 : 2 * i;
        uint64_t *block = receive(context);
        bench_check(block, size, expected);
        bench_free(block);
        context->checksum += expected;
        if (context->index % 2 == 1)
            send(partner, 2 * i + 1);
    }
}

static void run(void *argument)
{
    struct context *context = argument;
    if (mode == HANDOFF)
        hand_off(context);
    else
        scratch(context);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"mode", BENCH_CHOICE, &mode, "what happens", 0, 0, "active passive handoff"},
        {"size", BENCH_COUNT, &size, "bytes of a block", BENCH_SIZE_MIN, 4096, NULL},
        {"operations", BENCH_COUNT, &operations, "blocks per thread", 1, UINT32_MAX, NULL},
        {"writes", BENCH_COUNT, &writes, "writes to each block (active, passive)", 1, UINT32_MAX, NULL},
        {"threads", BENCH_COUNT, &threads, "threads; an even number for handoff", 1, 1024, NULL},
        {"seed", BENCH_COUNT, &seed, "accepted for uniformity; nothing here is random", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "hot blocks and cache lines that move between processors", options);
    if (mode == HANDOFF && threads % 2 != 0)
        bench_usage_error("--mode handoff wants an even number of --threads");

    contexts = bench_array(threads, sizeof *contexts);
    for (uint64_t i = 0; i < threads; i++) {
        contexts[i].index = i;
        if (mode == PASSIVE) {
            contexts[i].gift = bench_malloc(size);
            bench_mark(contexts[i].gift, size, i);
        }
    }
    double seconds = bench_parallel(threads, run, contexts, sizeof *contexts);
    uint64_t checksum = 0;
    for (uint64_t i = 0; i < threads; i++)
        checksum += contexts[i].checksum;
    bench_report_time(seconds, operations);
    bench_report_checksum(checksum);
    return 0;
}
