/* SPDX-License-Identifier: MIT
 *
 * A plugin with pools of its own is opened, used by threads, closed, and only then do these exit; many times. They must
 * not be called back into code that is gone, forks go on, and address space does not run out. "stays": the plugin has a
 * thread of its own, or the kernel may call it, so that it stays loaded.
 *
 * usage: plugin_close PLUGIN ROUNDS goes|stays
 */
#include "pools_plugin.h"
#include "support/check.h"
#include "watchdog.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { THREADS = 2, BLOCKS = 700, WARM_UP = 20 };

static bool goes;
static const struct pools *pools;
static pthread_barrier_t used, closed;

void
host_publish(const struct pools *found)
{
    pools = found;
}

static void
use_pools(void)
{
    char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = pools->malloc(i % 500);
        REQUIRE(pools->is_pooled(blocks[i]), "round %ld: no pool for %zu bytes", atomic_load(&watched), i % 500);
        memset(blocks[i], 1, i % 500);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        pools->free(blocks[i]);
}

static void *
outlive_the_plugin(void *unused)
{
    use_pools();
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    return unused;
}

static void
fork_a_child(void)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", (unsigned)status);
}

static void
open_and_close(const char *path)
{
    pthread_t threads[THREADS];
    void *plugin = dlopen(path, RTLD_NOW);
    REQUIRE(plugin != NULL, "%s", dlerror());
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, outlive_the_plugin, NULL) == 0, "no thread");
    use_pools();
    pthread_barrier_wait(&used);
    fork_a_child();
    REQUIRE(dlclose(plugin) == 0, "%s", dlerror());
    plugin = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    REQUIRE((plugin == NULL) == goes, "the plugin %s", goes ? "stays" : "has gone");
    if (plugin != NULL)
        dlclose(plugin);
    fork_a_child();
    pthread_barrier_wait(&closed);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* Of address space, and resident. */
static void
pages(size_t *total, size_t *resident)
{
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%zu %zu", total, resident) == 2, "/proc/self/statm");
    fclose(file);
}

int
main(int count, char **arguments)
{
    size_t total_before = 0, resident_before = 0, total, resident;
    REQUIRE(count == 4 && atoi(arguments[2]) > WARM_UP, "which plugin, how often?");
    goes = strcmp(arguments[3], "goes") == 0;
    watchdog_start(120);
    pthread_barrier_init(&used, NULL, THREADS + 1);
    pthread_barrier_init(&closed, NULL, THREADS + 1);
    for (; atomic_load(&watched) < atoi(arguments[2]); atomic_fetch_add(&watched, 1)) {
        if (atomic_load(&watched) == WARM_UP)
            pages(&total_before, &resident_before);
        open_and_close(arguments[1]);
    }
    pages(&total, &resident);
    /* There may be less than before: the kernel counts with some delay. */
    long rounds = atomic_load(&watched) - WARM_UP;
    long more = ((long)total - (long)total_before) * 4 / rounds;
    long more_resident = ((long)resident - (long)resident_before) * 4 / rounds;
    REQUIRE(more < 1 << 20 && more_resident < 2 << 10, "each time %ld KiB of addresses, %ld KiB resident", more,
            more_resident);
    return 0;
}
