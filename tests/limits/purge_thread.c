/* SPDX-License-Identifier: MIT
 *
 * `purge_thread falls|stays`: blocks come and go in waves, then the program does nothing. With
 * POOLMALLOC_PURGE_THREAD=1 the memory that the waves needed goes back meanwhile, also in a forked child, and the
 * thread takes no signal; without it, memory stays.
 */
#include "support/check.h"
#include "support/measure.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 300000, SIZE = 112, WAVES = 6, WAVE_BYTES = BLOCKS * SIZE };

static void *blocks[BLOCKS];
static volatile sig_atomic_t caught;

static void
make_waves(void)
{
    for (int wave = 0; wave < WAVES; wave++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = malloc(SIZE);
            REQUIRE(blocks[i] != NULL, "no memory");
            memset(blocks[i], 1, SIZE);
        }
        for (size_t i = 0; i < BLOCKS; i++)
            free(blocks[i]);
    }
}

/* Whether no more than an eighth of a wave is left after some time; nothing is allocated meanwhile. */
static bool
falls(size_t before, int seconds)
{
    for (int i = 0; i < 20 * seconds; i++) {
        if (resident_bytes() < before + WAVE_BYTES / 8)
            return true;
        usleep(50000);
    }
    return false;
}

static void
note(int signal)
{
    (void)signal;
    caught = 1;
}

/* A signal to the process that the main thread blocks waits for it, unless another thread takes it. */
static void
require_no_other_thread_takes_a_signal(void)
{
    sigset_t one;
    signal(SIGUSR1, note);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    kill(getpid(), SIGUSR1);
    usleep(50000);
    REQUIRE(!caught, "another thread took the signal");
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    REQUIRE(caught, "the signal was lost");
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "usage: purge_thread falls|stays");
    bool expected = strcmp(arguments[1], "falls") == 0;
    memset(blocks, 1, sizeof blocks);
    size_t before = resident_bytes();
    make_waves();
    size_t held = resident_bytes() - before;
    REQUIRE(held > WAVE_BYTES / 2, "only %zu bytes are kept for the next wave", held);
    REQUIRE(falls(before, expected ? 10 : 1) == expected, "%zu bytes after the waves, %zu later", held,
            resident_bytes() - before);
    require_no_other_thread_takes_a_signal();
    pid_t child = fork();
    if (child == 0) {
        make_waves();
        _exit(falls(before, expected ? 10 : 1) == expected ? 0 : 3);
    }
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child, "no child");
    REQUIRE(status == 0, "the child ended with %#x", (unsigned)status);
    return 0;
}
