/* SPDX-License-Identifier: MIT
 *
 * A program with one thread forks in the handler of a signal that comes while it allocates and frees. The interrupted
 * call goes on in the parent and in the child, and both use the heap afterwards. The argument is the number of forks.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "watchdog.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { BLOCKS = 200, CHILD_ROUNDS = 20 };

static volatile sig_atomic_t is_child;
static volatile sig_atomic_t children; /* not waited for yet */

static void
fork_here(int signal)
{
    (void)signal;
    int saved = errno;
    if (children == 0 && !is_child) {
        pid_t child = fork();
        if (child < 0)
            _exit(1);
        if (child == 0) {
            watchdog_start(120);
            is_child = 1;
        } else {
            children = 1;
        }
    }
    errno = saved;
}

static void
use_heap(size_t round)
{
    static unsigned char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 400 + (i * 7 + round) % 300;
        REQUIRE((blocks[i] = malloc(size)) != NULL, "no memory");
        pattern_write(blocks[i], size, i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 400 + (i * 7 + round) % 300;
        REQUIRE(pattern_holds(blocks[i], size, size, i), "block %zu was written to", i);
        free(blocks[i]);
    }
}

/* The child ends in the middle of the parent's loop. */
static void
end_as_child(size_t round)
{
    for (size_t i = 0; i < CHILD_ROUNDS; i++)
        use_heap(round + i);
    _exit(0);
}

/* Some time from now on. */
static void
expect_signal(timer_t timer)
{
    static unsigned long random = 1;
    random = random * 6364136223846793005u + 1442695040888963407u;
    struct itimerspec when = {.it_value.tv_nsec = 20000 + (long)(random >> 40) % 200000};
    REQUIRE(timer_settime(timer, 0, &when, NULL) == 0, "timer_settime");
}

int
main(int count, char **arguments)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    REQUIRE(count == 2 && atoi(arguments[1]) > 0, "how many forks?");
    watchdog_start(120);
    signal(SIGUSR1, fork_here);
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "no timer");
    expect_signal(timer);
    for (size_t round = 0; atomic_load(&watched) < atoi(arguments[1]); round++) {
        use_heap(round);
        if (is_child)
            end_as_child(round);
        if (children != 0) {
            int status;
            while (waitpid(-1, &status, 0) < 0)
                REQUIRE(errno == EINTR, "waitpid");
            REQUIRE(status == 0, "the child ended with %#x", (unsigned)status);
            atomic_fetch_add(&watched, 1);
            children = 0;
            expect_signal(timer);
        }
    }
    return 0;
}
