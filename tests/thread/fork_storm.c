/* SPDX-License-Identifier: MIT
 *
 * 2,000 forks of a process whose six other threads allocate all the time. Each child uses the heap, starts a thread of
 * its own that uses it, and exits through exit(); every sixteenth forks a child in turn. A child that meets a lock held
 * by a thread it does not have, or half-changed state, hangs or crashes: an alarm makes a hang a failure.
 *
 * A program with a main of its own: exit() in a child must run this program's handlers, not the test runner's.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/random.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKS = 2000, AT_ONCE = 2, OTHERS = 6, HELD = 100, CHILD_SECONDS = 60 };

static atomic_int stop;

/* Slots replaced at random, for `steps` steps, or until `stop` when that is negative. */
static void
churn(uint64_t seed, int steps)
{
    struct random random = {seed};
    unsigned char *blocks[HELD] = {NULL};
    size_t sizes[HELD];
    for (; steps != 0 && !atomic_load_explicit(&stop, memory_order_relaxed); steps -= steps > 0) {
        size_t i = random_below(&random, HELD);
        if (blocks[i] != NULL) {
            REQUIRE(pattern_holds(blocks[i], sizes[i], sizes[i], i), "%zu bytes were overwritten", sizes[i]);
            mem.free(blocks[i]);
        }
        sizes[i] = random_below(&random, random_below(&random, 10) == 0 ? 3000 : 600);
        blocks[i] = mem.malloc(sizes[i]);
        REQUIRE(blocks[i] != NULL, "no memory for %zu bytes", sizes[i]);
        pattern_write(blocks[i], sizes[i], i);
    }
    for (size_t i = 0; i < HELD; i++)
        mem.free(blocks[i]);
}

/* At low priority, so that on few processors the forks get through: it is interrupted anywhere all the same. */
static void *
churn_for_ever(void *seed)
{
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    churn((uint64_t)(uintptr_t)seed, -1);
    return NULL;
}

static void *
churn_a_little(void *seed)
{
    churn((uint64_t)(uintptr_t)seed, 150);
    return NULL;
}

static void
use_heap_in_exit(void)
{
    mem.free(mem.malloc(100));
    mem.free(mem.malloc(700));
}

static void
wait_for_one(void)
{
    int status = 0;
    pid_t child = waitpid(-1, &status, 0);
    REQUIRE(child > 0, "waitpid");
    REQUIRE(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, "a child hangs");
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %#x", (unsigned)status);
}

/* What the main thread held when it forked: the child has it too, and may give its copy back. */
static unsigned char *inherited[HELD];

static void
take_inheritance(void)
{
    for (size_t i = 0; i < HELD; i++) {
        inherited[i] = mem.malloc(i * 20);
        pattern_write(inherited[i], i * 20, i);
    }
}

static void
spend_inheritance(void)
{
    for (size_t i = 0; i < HELD; i++) {
        REQUIRE(pattern_holds(inherited[i], i * 20, i * 20, i), "inherited block %zu", i);
        mem.free(inherited[i]);
    }
}

static void
live_as_child(int number)
{
    spend_inheritance();
    churn((uint64_t)number, 150);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, churn_a_little, (void *)(uintptr_t)number) == 0, "no thread in a child");
    if (number % 3 == 0)
        churn((uint64_t)number + 1, 100);
    pthread_join(thread, NULL);
}

/* Forks; the child lives, forks in turn while there are generations left, and exits. */
static void
fork_child(int number, int generations)
{
    pid_t child = fork();
    REQUIRE(child >= 0, "fork %d", number);
    if (child > 0)
        return;
    alarm(CHILD_SECONDS);
    live_as_child(number);
    if (generations > 1) {
        take_inheritance();
        fork_child(number, generations - 1);
        wait_for_one();
    }
    exit(0);
}

static void
fork_children(void)
{
    size_t resident = 0;
    for (int started = 0, ended = 0; ended < FORKS;) {
        if (started < FORKS && started - ended < AT_ONCE) {
            fork_child(started, started % 16 == 0 ? 3 : 1);
            started++;
        } else {
            wait_for_one();
            ended++;
        }
        if (ended == FORKS / 10)
            resident = resident_bytes();
    }
    require_growth_below(resident, 8 << 20, "a process that forks");
}

int
main(void)
{
#if TEST_SANITIZED
    return 77; /* the sanitizers' own runtimes do not survive threads in the child of a threaded process */
#endif
    pthread_t threads[OTHERS];
    uint64_t seed = test_seed("fork");
    atexit(use_heap_in_exit);
    for (int i = 0; i < OTHERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn_for_ever, (void *)(uintptr_t)(seed + (uint64_t)i)) == 0,
                "thread %d", i);
    take_inheritance();
    fork_children();
    atomic_store(&stop, 1);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(threads[i], NULL);
    spend_inheritance();
    return 0;
}
