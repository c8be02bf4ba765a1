/* SPDX-License-Identifier: MIT
 *
 * What the statistics are asked about: a program that allocates in one of several ways, preloaded by test_stats.py. It
 * calls only what every program has; what the library exports it finds by dlsym.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 20000, THREADS = 4 };

static atomic_bool stop;
static atomic_int heard;
static atomic_ulong rounds[THREADS]; /* of the threads that churn */

/* Every class, half of the blocks freed again, a few large ones. */
static void
fill(void)
{
    static char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)(i * 7919 % (i % 50 == 0 ? 4000 : 513));
        blocks[i] = malloc(size);
        memset(blocks[i], 1, size);
    }
    for (int i = 0; i < BLOCKS; i++)
        if (i % 3 != 0)
            free(blocks[i]);
}

static void *
churn(void *number)
{
    unsigned state = (unsigned)(uintptr_t)number + 1;
    void *blocks[512] = {0};
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&rounds[(uintptr_t)number], 1, memory_order_relaxed);
        state = state * 1664525 + 1013904223;
        unsigned at = state >> 8 & 511;
        free(blocks[at]);
        blocks[at] = malloc(state >> 17 & ((state & 255) == 0 ? 8191 : 511));
    }
    for (int i = 0; i < 512; i++)
        free(blocks[i]);
    return NULL;
}

static void
hear(int number)
{
    (void)number;
    atomic_fetch_add(&heard, 1);
}

/* Lets the threads have the processors, and looks again. */
static void
wait_a_moment(void)
{
    usleep(200);
}

/* Waits until each of the threads has gone round so often again. */
static void
await_rounds(unsigned long more)
{
    unsigned long wanted[THREADS];
    for (int i = 0; i < THREADS; i++)
        wanted[i] = atomic_load(&rounds[i]) + more;
    for (int i = 0; i < THREADS; i++)
        while (atomic_load(&rounds[i]) < wanted[i])
            wait_a_moment();
}

/* A signal to each thread at once, while all of them allocate, again and again. The signal of the program's own that
 * follows it is delivered later, and not while the first one's handler runs: when all have heard that, those have
 * ended. */
static void
storm(int count)
{
    struct sigaction action = {.sa_handler = hear};
    pthread_t threads[THREADS];
    sigaction(SIGRTMIN, &action, NULL);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)i);
    await_rounds(1000); /* each has a heap by then */
    for (int sent = 0; sent < count; sent += THREADS) {
        for (int i = 0; i < THREADS; i++)
            if (pthread_kill(threads[i], SIGUSR2) != 0)
                exit(3);
        for (int i = 0; i < THREADS; i++)
            pthread_kill(threads[i], SIGRTMIN);
        while (atomic_load(&heard) < sent + THREADS)
            wait_a_moment();
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* errno is the program's: a handler in between must not change it. */
static void
raise_quietly(void)
{
    fill();
    for (int value = 1; value < 100; value++) {
        errno = value;
        raise(SIGUSR2);
        if (errno != value)
            exit(4);
    }
}

/* The program's handler comes after the library's and takes its place. */
static void
own_handler(void)
{
    struct sigaction action = {.sa_handler = hear};
    sigaction(SIGUSR2, &action, NULL);
    raise(SIGUSR2);
    exit(atomic_load(&heard) == 1 ? 0 : 5);
}

/* The library is opened when the program has a handler: both run. */
static void
late(const char *library)
{
    struct sigaction action = {.sa_handler = hear};
    sigaction(SIGUSR2, &action, NULL);
    if (dlopen(library, RTLD_NOW) == NULL)
        exit(6);
    raise(SIGUSR2);
    exit(atomic_load(&heard) == 1 ? 0 : 5);
}

static void
fork_children(void)
{
    fill();
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            fill();
            exit(0);
        }
    while (wait(NULL) > 0)
        continue;
}

/* Leaves a child behind as daemons do it. That lives until nobody has the pipe `path` open for writing any more. */
static void
leave_daemon(const char *path)
{
    char bytes[16];
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    int end = open(path, O_RDONLY);
    while (read(end, bytes, sizeof bytes) > 0)
        continue;
    exit(0);
}

/* A forked child of a process whose threads allocate prints as well. */
static void
fork_threads(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)i);
    for (int i = 0; i < 20; i++) {
        await_rounds(1000);
        pid_t child = fork();
        if (child == 0) {
            raise(SIGUSR2);
            fill();
            exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0)
            exit(7);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The numbers of stdio now belong to a file of the program's. */
static void
reuse_descriptors(const char *path, int from)
{
    for (int fd = from; fd < 1024; fd++)
        close(fd);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int fd = file + 1; fd < 1024; fd++)
        if (dup2(file, fd) != fd)
            break;
    fill();
    raise(SIGUSR2);
}

static int open_descriptor;

static void
print_at_exit(void)
{
    void (*print)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "pm_stats_print_json");
    fclose(stdout);
    print(1); /* closed */
    print(open_descriptor);
}

/* What glibc's calls say, before and after a megabyte of small blocks. */
static void
glibc_calls(void)
{
    static void *blocks[10000];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 10000; i++)
        blocks[i] = malloc(100);
    void *large = malloc(3000000);
    struct mallinfo2 after = mallinfo2();
    fprintf(stderr, "small %zu large %zu\n", after.uordblks - before.uordblks, after.hblkhd - before.hblkhd);
    malloc_stats();
    malloc_info(0, stderr);
    for (int i = 0; i < 10000; i++)
        free(blocks[i]);
    free(large);
}

int
main(int count, char **arguments)
{
    const char *way = count > 1 ? arguments[1] : "";
    const char *argument = count > 2 ? arguments[2] : "";
    if (strcmp(way, "fill") == 0)
        fill();
    else if (strcmp(way, "storm") == 0)
        storm(atoi(argument));
    else if (strcmp(way, "raise") == 0)
        raise_quietly();
    else if (strcmp(way, "own_handler") == 0)
        own_handler();
    else if (strcmp(way, "late") == 0)
        late(argument);
    else if (strcmp(way, "fork") == 0)
        fork_children();
    else if (strcmp(way, "daemon") == 0)
        leave_daemon(argument);
    else if (strcmp(way, "fork_threads") == 0)
        fork_threads();
    else if (strcmp(way, "reuse") == 0)
        reuse_descriptors(argument, 0);
    else if (strcmp(way, "atexit") == 0)
        fill(), open_descriptor = atoi(argument), atexit(print_at_exit);
    else if (strcmp(way, "glibc") == 0)
        glibc_calls();
    else
        return 2;
    return 0;
}
