/* SPDX-License-Identifier: MIT
 *
 * Corners in which poolmalloc once failed, each run as a test of its own with the environment and the limits it needs
 * (CMakeLists.txt): blocks keep their alignment when the pools are exhausted; a coroutine on a block of malloc may ask
 * for its thread's attributes, and free blocks above its stack; a request that no limit allows does not cost the
 * program its pools; the child of a fork hands out what lost threads had at hand; large blocks that come and go do not
 * fetch their memory from the kernel each time.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "poolmalloc.h"

#define REQUIRE(condition)                                                             \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
            _exit(1);                                                                  \
        }                                                                              \
    } while (0)

/* With POOLMALLOC_REGION=16M. */
static void
exhausted_pools_align(void)
{
    unsigned outside = 0;
    for (int i = 0; i < 300000; i++)
        REQUIRE(malloc(100) != NULL);
    for (size_t alignment = 32; alignment <= 512; alignment *= 2) {
        for (int i = 0; i < 100; i++) {
            void *block = aligned_alloc(alignment, 100), *other = NULL;
            REQUIRE(block != NULL && (uintptr_t)block % alignment == 0);
            REQUIRE(posix_memalign(&other, alignment, 20) == 0 && (uintptr_t)other % alignment == 0);
            outside += !pm_is_pooled(block) + !pm_is_pooled(other);
        }
    }
    REQUIRE(outside > 0); /* else nothing was exhausted */
}

static ucontext_t main_context, coroutine_context;

static void
coroutine(void)
{
    pthread_attr_t attributes;
    REQUIRE(pthread_getattr_np(pthread_self(), &attributes) == 0);
    pthread_attr_destroy(&attributes);
    for (size_t size = 600; size < 100000; size *= 2) {
        void *blocks[50];
        for (int i = 0; i < 50; i++)
            REQUIRE((blocks[i] = malloc(size)) != NULL);
        for (int i = 0; i < 50; i++)
            free(blocks[i]);
    }
}

static void *
run_coroutine(void *unused)
{
    enum { STACK = 65536 };
    char *stack = malloc(STACK);
    REQUIRE(stack != NULL && getcontext(&coroutine_context) == 0);
    coroutine_context.uc_stack.ss_sp = stack;
    coroutine_context.uc_stack.ss_size = STACK;
    coroutine_context.uc_link = &main_context;
    makecontext(&coroutine_context, coroutine, 0);
    REQUIRE(swapcontext(&main_context, &coroutine_context) == 0);
    free(stack);
    return unused;
}

static void
coroutines_free_and_ask(void)
{
    pthread_t thread;
    alarm(30);
    run_coroutine(NULL);
    REQUIRE(pthread_create(&thread, NULL, run_coroutine, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

/* Under ulimit -v. */
static void
impossible_requests_cost_nothing(void)
{
    for (int shift = 50; shift > 33; shift--) {
        void *volatile block = malloc((size_t)1 << shift);
        REQUIRE(block == NULL);
    }
    for (int i = 0; i < 100000; i++)
        REQUIRE(pm_is_pooled(malloc(48)));
}

static size_t
waiting_48(void)
{
    struct pm_stats stats;
    pm_stats_get(&stats);
    return stats.classes[48 / 8 - 1].blocks_magazine;
}

static pthread_barrier_t barrier;

static void *
keep_blocks_at_hand(void *unused)
{
    enum { COUNT = 20000 }; /* a thread with fewer has hardly any at hand */
    void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(48);
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return unused;
}

static void *
take_one(void *unused)
{
    free(malloc(48));
    return unused;
}

static void
child_keeps_the_blocks_of_lost_threads(void)
{
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    REQUIRE(pthread_create(&thread, NULL, keep_blocks_at_hand, NULL) == 0);
    pthread_barrier_wait(&barrier);
    pid_t child = fork();
    if (child == 0) {
        size_t before = waiting_48();
        pthread_t heir;
        REQUIRE(before >= 60);
        REQUIRE(pthread_create(&heir, NULL, take_one, NULL) == 0 && pthread_join(heir, NULL) == 0);
        struct pm_stats stats;
        pm_stats_get(&stats);
        REQUIRE(stats.classes[48 / 8 - 1].blocks_in_use < 40); /* not lost: back in the pools when the heir exited */
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pthread_barrier_wait(&barrier);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* Together more than glibc leaves at the end of its heap when nothing behind them is in use. */
static void
large_blocks_keep_their_memory(void)
{
    enum { SIZE = 100000, TIMES = 1000 };
    struct rusage usage;
    for (int i = 0; i < TIMES; i++) {
        char *blocks[2] = {malloc(SIZE), malloc(SIZE)};
        REQUIRE(blocks[0] != NULL && blocks[1] != NULL);
        for (size_t byte = 0; byte < SIZE; byte += 4096)
            blocks[0][byte] = blocks[1][byte] = 1;
        free(blocks[0]);
        free(blocks[1]);
    }
    getrusage(RUSAGE_SELF, &usage);
    REQUIRE(usage.ru_minflt < 10 * TIMES);
}

int
main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"exhausted", exhausted_pools_align},
        {"coroutine", coroutines_free_and_ask},
        {"impossible", impossible_requests_cost_nothing},
        {"fork", child_keeps_the_blocks_of_lost_threads},
        {"large", large_blocks_keep_their_memory},
    };
    for (size_t i = 0; count == 2 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(arguments[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "edges: usage: edges exhausted|coroutine|impossible|fork\n");
    return 2;
}
