/* SPDX-License-Identifier: MIT
 *
 * A process forks while a library is being started in it, by another thread, or by the thread that forks, which is
 * then in a signal handler. The child uses the library. The start is held up where it tries out the malloc behind it,
 * which is this program's.
 *
 * usage: plugin_start PLUGIN other|same
 */
#include "pools_plugin.h"
#include "support/check.h"
#include "watchdog.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { TRIED_FIRST = 256 << 10, BLOCKS = 2000 };

static const struct pools *pools;
static sem_t in_start, go_on;
static atomic_bool expected;
static bool fork_here;
static pid_t child = -1;

void *__libc_malloc(size_t size);

void *
malloc(size_t size)
{
    if (size == TRIED_FIRST && atomic_exchange(&expected, false)) {
        if (fork_here)
            child = fork();
        if (!fork_here) {
            sem_post(&in_start);
            sem_wait(&go_on);
        }
    }
    return __libc_malloc(size);
}

void
host_publish(const struct pools *found)
{
    pools = found;
}

static void *
use_pools(void *unused)
{
    char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = pools->malloc(i % 500);
        REQUIRE(pools->is_pooled(blocks[i]), "no pool for %zu bytes", i % 500);
        memset(blocks[i], 1, i % 500);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        pools->free(blocks[i]);
    return unused;
}

static void
use_pools_in_threads(void)
{
    pthread_t thread;
    use_pools(NULL);
    for (int i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&thread, NULL, use_pools, NULL) == 0, "no thread");
        pthread_join(thread, NULL);
    }
}

static void
expect_child(void)
{
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", (unsigned)status);
}

static void
live_as_child(void)
{
    watchdog_start(120);
    use_pools_in_threads();
    pid_t grandchild = fork();
    if (grandchild == 0) {
        use_pools_in_threads();
        _exit(0);
    }
    child = grandchild;
    expect_child();
    _exit(0);
}

static void *
open_plugin(void *path)
{
    REQUIRE(dlopen(path, RTLD_NOW) != NULL, "%s", dlerror());
    return NULL;
}

int
main(int count, char **arguments)
{
    pthread_t starter;
    REQUIRE(count == 3, "which plugin, which thread forks?");
    watchdog_start(200);
    sem_init(&in_start, 0, 0);
    sem_init(&go_on, 0, 0);
    atomic_store(&expected, true);
    fork_here = strcmp(arguments[2], "same") == 0;
    if (fork_here) {
        open_plugin(arguments[1]);
    } else {
        REQUIRE(pthread_create(&starter, NULL, open_plugin, arguments[1]) == 0, "no thread");
        sem_wait(&in_start);
        child = fork();
    }
    REQUIRE(!atomic_load(&expected) && child >= 0, "there was no start, or no child");
    if (child == 0)
        live_as_child();
    expect_child();
    if (!fork_here) {
        sem_post(&go_on);
        pthread_join(starter, NULL);
    }
    use_pools_in_threads();
    return 0;
}
