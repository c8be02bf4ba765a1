/* SPDX-License-Identifier: MIT
 *
 * `purge_thread falls|stays`: blocks come and go in waves, then the program does nothing. With
 * POOLMALLOC_PURGE_THREAD=1 the memory that the waves needed goes back meanwhile, also in a forked child, and the
 * thread takes no signal; without it, memory stays, and there is no thread that could give it back.
 */
#include "support/check.h"
#include "support/measure.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 300000, SIZE = 112, WAVES = 6, WAVE_BYTES = BLOCKS * SIZE };
enum { FIRST_OF_LIBC = 32, GENEROUS_SECONDS = 60 }; /* libc keeps the first real-time signals to itself */

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

/* How many other threads there are. Each blocks every signal that can be: the program's are not for them. */
static int
count_other_threads(void)
{
    char path[300], line[256];
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks != NULL, "no /proc");
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        unsigned long long blocked = 0;
        if (entry->d_name[0] == '.' || atol(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "r");
        REQUIRE(status != NULL, "no %s", path);
        while (blocked == 0 && fgets(line, sizeof line, status) != NULL)
            sscanf(line, "SigBlk: %llx", &blocked);
        fclose(status);
        for (int number = 1; number < SIGRTMIN; number++)
            REQUIRE(number == SIGKILL || number == SIGSTOP || number >= FIRST_OF_LIBC ||
                        blocked >> (number - 1) & 1,
                    "thread %s takes signal %d", entry->d_name, number);
        count++;
    }
    closedir(tasks);
    return count;
}

/* Waits until no more than an eighth of a wave is left; nothing is allocated meanwhile. */
static void
await_fall(size_t before)
{
    for (int i = 0; resident_bytes() >= before + WAVE_BYTES / 8; i++) {
        REQUIRE(i < GENEROUS_SECONDS * 100, "%zu bytes are left", resident_bytes() - before);
        usleep(10000);
    }
}

/* Memory falls after waves to what it was before, or it stays. The threads are counted first, since that allocates. */
static void
require_waves(bool falls, size_t before)
{
    int others = count_other_threads();
    REQUIRE(others == (falls ? 1 : 0), "%d threads of the library", others);
    make_waves();
    size_t held = resident_bytes() - before;
    if (falls)
        await_fall(before);
    else
        REQUIRE(held > WAVE_BYTES / 2, "only %zu bytes are kept for the next wave", held);
}

static void
note(int signal)
{
    (void)signal;
    caught = 1;
}

/* A signal to the process that the main thread blocks waits for it. */
static void
require_signals_wait(void)
{
    sigset_t one;
    signal(SIGUSR1, note);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    kill(getpid(), SIGUSR1);
    REQUIRE(!caught, "another thread took the signal");
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    REQUIRE(caught, "the signal was lost");
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "usage: purge_thread falls|stays");
    bool falls = strcmp(arguments[1], "falls") == 0;
    memset(blocks, 1, sizeof blocks);
    size_t before = resident_bytes();
    require_waves(falls, before);
    require_signals_wait();
    pid_t child = fork();
    if (child == 0) {
        require_waves(falls, before);
        _exit(0);
    }
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child, "no child");
    REQUIRE(status == 0, "the child ended with %#x", (unsigned)status);
    return 0;
}
