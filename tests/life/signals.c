/* SPDX-License-Identifier: MIT
 *
 * Signals: a library that serves malloc takes no signal for itself, changes no mask, and bears being interrupted
 * anywhere by handlers that do not use the heap.
 */
#include "support/blocks.h"
#include "support/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;

static void
tick(int signal)
{
    (void)signal;
    ticks++;
}

static void
require_no_handlers(const char *when)
{
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;
        if (signal == SIGALRM || sigaction(signal, NULL, &action) != 0)
            continue;
        REQUIRE(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN, "signal %d has a handler %s", signal,
                when);
    }
}

static void
require_same_mask(const sigset_t *expected, const char *where)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int signal = 1; signal < NSIG; signal++)
        REQUIRE(sigismember(&mask, signal) == sigismember(expected, signal), "signal %d, %s", signal, where);
}

/* Allocates and frees until 400 ticks came, all sizes, whole magazines and pools at a time. */
static void *
use_heap(void *mask)
{
    enum { COUNT = 400 };
    unsigned char *blocks[COUNT];
    for (size_t round = 0; ticks < 400; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = (i * 13 + round * 31) % 1400;
            blocks[i] = malloc(size);
            pattern_write(blocks[i], size, i);
        }
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = (i * 13 + round * 31) % 1400;
            REQUIRE(pattern_holds(blocks[i], size, size, i), "block %zu", i);
            free(blocks[i]);
        }
    }
    require_same_mask(mask, "after use of the heap");
    return NULL;
}

int
main(void)
{
    sigset_t mask;
    pthread_t thread;
    struct itimerval often = {{0, 1000}, {0, 1000}};
    struct sigaction action = {.sa_handler = tick}; /* without SA_RESTART: system calls are interrupted too */
    require_no_handlers("at the start");
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    REQUIRE(pthread_create(&thread, NULL, use_heap, &mask) == 0, "no thread");
    use_heap(&mask);
    pthread_join(thread, NULL);
    require_no_handlers("at the end");
    return 0;
}
