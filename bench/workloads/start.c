/* SPDX-License-Identifier: MIT
 *
 * start: a tiny program run hundreds of times.
 *
 * Models shell scripts, build systems and git hooks: most processes live for a millisecond, allocate a hundred blocks
 * and exit. What counts is what an allocator does before main and at its first block. The program starts itself with
 * --child; the library is inherited through the environment. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "common.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

enum { MAX_BLOCKS = 100000 };

extern char **environ;

static uint64_t times = 300, blocks = 100, seed = 1;
static bool child;
static struct bench_sizes sizes;

/* Every second block is freed, the others are left to the end of the process, as programs do. */
static void be_tiny_program(void)
{
    static void *table[MAX_BLOCKS];
    static uint32_t lengths[MAX_BLOCKS];
    struct bench_rng rng = bench_rng_stream(seed, 0);
    for (uint64_t i = 0; i < blocks; i++) {
        lengths[i] = (uint32_t)bench_size(&sizes, &rng);
        table[i] = bench_malloc(lengths[i]);
        bench_mark(table[i], lengths[i], i);
    }
    for (uint64_t i = 0; i < blocks; i++) {
        bench_check(table[i], lengths[i], i);
        if (i % 2 == 0)
            bench_free(table[i]);
    }
}

static void run_child(char *blocks_text)
{
    char program[] = "/proc/self/exe", child_option[] = "--child", blocks_option[] = "--blocks";
    char *arguments[] = {program, child_option, blocks_option, blocks_text, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    int error = posix_spawn(&pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        bench_fail("cannot start the child: %s", strerror(error));
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_fail("the child ended with status %#x", (unsigned)status);
}

int main(int argc, char **argv)
{
    static char blocks_text[24];
    static const struct bench_option options[] = {
        {"times", BENCH_COUNT, &times, "processes, one after the other", 1, 1000000, NULL},
        {"blocks", BENCH_COUNT, &blocks, "blocks each allocates", 0, MAX_BLOCKS, NULL},
        {"sizes", BENCH_SIZES, &sizes, "sizes of the blocks", 0, 0, "real:8-512"},
        {"child", BENCH_FLAG, &child, "be the tiny program", 0, 0, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of the sizes", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "a tiny program run hundreds of times", options);
    if (child) {
        be_tiny_program();
        return 0;
    }
    char *end = blocks_text + sizeof blocks_text - 1;
    uint64_t rest = blocks;
    do
        *--end = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);

    double start = bench_now();
    for (uint64_t i = 0; i < times; i++)
        run_child(end);
    bench_report_time(bench_now() - start, times);
    bench_report_checksum(times);
    return 0;
}
