/* SPDX-License-Identifier: MIT
 *
 * fork takes locks of stdio behind the library's back. One thread reads a long line, for which stdio asks for larger
 * and larger buffers while it holds the file; one flushes all files, for which it holds their list and waits for the
 * file; and one forks, for which libc waits for the list. The argument is the number of forks.
 */
#include "support/check.h"
#include "watchdog.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { LINE = 50000, CHILD_BLOCKS = 300 };

static FILE *file;
static atomic_bool stop;

static void *
read_lines(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        char *line = NULL;
        size_t size = 0;
        rewind(file);
        REQUIRE(getline(&line, &size, file) == LINE && line[LINE - 1] == '\n' && line[0] == 'x', "another line");
        free(line);
    }
    return NULL;
}

static void *
flush_files(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop))
        REQUIRE(fflush(NULL) == 0, "fflush");
    return NULL;
}

static void
live_as_child(void)
{
    char *blocks[CHILD_BLOCKS];
    watchdog_start(120);
    for (size_t i = 0; i < CHILD_BLOCKS; i++)
        REQUIRE((blocks[i] = malloc(i * 10)) != NULL, "no memory");
    for (size_t i = 0; i < CHILD_BLOCKS; i++)
        free(blocks[i]);
    _exit(0);
}

int
main(int count, char **arguments)
{
    pthread_t reader, flusher;
    REQUIRE(count == 2 && atoi(arguments[1]) > 0, "how many forks?");
    REQUIRE((file = tmpfile()) != NULL, "no file");
    for (int i = 1; i < LINE; i++)
        putc('x', file);
    putc('\n', file);
    REQUIRE(pthread_create(&reader, NULL, read_lines, NULL) == 0, "no thread");
    REQUIRE(pthread_create(&flusher, NULL, flush_files, NULL) == 0, "no thread");
    watchdog_start(120);
    for (; atomic_load(&watched) < atoi(arguments[1]); atomic_fetch_add(&watched, 1)) {
        int status;
        pid_t child = fork();
        REQUIRE(child >= 0, "fork");
        if (child == 0)
            live_as_child();
        REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", (unsigned)status);
    }
    atomic_store(&stop, true);
    pthread_join(reader, NULL);
    pthread_join(flusher, NULL);
    return 0;
}
