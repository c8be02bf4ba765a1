/* SPDX-License-Identifier: MIT
 *
 * What the command is tested on: threads that allocate and free at full speed, in sizes that change, also each other's
 * blocks, until SIGTERM. It checks its blocks, so that a reader who disturbed it would be noticed: exit status 3 then.
 *
 * usage: churn THREADS
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 4096, THREADS_MAX = 64 };

static _Atomic(unsigned char *) slots[SLOTS];
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static unsigned char *make(unsigned random)
{
    size_t size = 2 + random % (random % 16 == 0 ? 2000 : 300);
    unsigned char *block = malloc(size);
    if (block == NULL)
        _exit(3);
    block[0] = block[size - 1] = (unsigned char)size;
    block[1] = size == 2 ? block[1] : (unsigned char)~size;
    return block;
}

static void drop(unsigned char *block)
{
    if (block != NULL && block[1] != (unsigned char)~block[0] && block[1] != block[0])
        _exit(3);
    free(block);
}

static void *churn(void *number)
{
    unsigned random = 1 + (unsigned)(size_t)number;
    while (!stopped) {
        random = random * 1664525 + 1013904223;
        drop(atomic_exchange(&slots[random >> 8 & (SLOTS - 1)], make(random >> 4)));
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS_MAX];
    int wanted = count == 2 ? atoi(arguments[1]) : 0;
    if (wanted < 1 || wanted > THREADS_MAX) {
        fprintf(stderr, "usage: churn THREADS\n");
        return 2;
    }
    signal(SIGTERM, stop);
    for (size_t i = 0; i < (size_t)wanted; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)i) != 0)
            return 3;
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < wanted; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
