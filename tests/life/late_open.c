/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of poolmalloc opens it while it runs, with threads that existed before, uses its own
 * names and its malloc beside the C library's, closes it and goes on. Arguments: the library, "local" or "global".
 */
#include "support/blocks.h"
#include "support/check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, BLOCKS = 300 };

static struct {
    void *(*pm_malloc)(size_t size);
    void (*pm_free)(void *block);
    int (*pm_is_pooled)(const void *block);
    void *(*malloc)(size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
    size_t (*malloc_usable_size)(void *block);
} late;

static void *handle;

static void
look_up(void *pointer, const char *name)
{
    void *address = dlsym(handle, name);
    REQUIRE(address != NULL, "%s: %s", name, dlerror());
    memcpy(pointer, &address, sizeof address);
}

static void
open_library(const char *path, int scope)
{
    handle = dlopen(path, RTLD_NOW | scope);
    REQUIRE(handle != NULL, "%s", dlerror());
    look_up(&late.pm_malloc, "pm_malloc");
    look_up(&late.pm_free, "pm_free");
    look_up(&late.pm_is_pooled, "pm_is_pooled");
    look_up(&late.malloc, "malloc");
    look_up(&late.realloc, "realloc");
    look_up(&late.free, "free");
    look_up(&late.malloc_usable_size, "malloc_usable_size");
}

/* The library's malloc and the C library's side by side; a block of the latter may be given to the former. */
static void
use_both(unsigned seed)
{
    unsigned char *blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size = i * 5 + 1;
        blocks[i] = i % 3 == 0 ? late.pm_malloc(size) : i % 3 == 1 ? late.malloc(size) : malloc(size);
        REQUIRE(blocks[i] != NULL, "%zu bytes", size);
        REQUIRE(late.pm_is_pooled(blocks[i]) == (i % 3 != 2 && size <= 512), "%zu bytes", size);
        REQUIRE(late.malloc_usable_size(blocks[i]) >= size, "%zu bytes", size);
        pattern_write(blocks[i], size, seed + i);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size = i * 5 + 1;
        if (i % 7 == 0)
            blocks[i] = late.realloc(blocks[i], size + 100);
        REQUIRE(pattern_holds(blocks[i], size, size, seed + i), "%zu bytes", size);
        late.free(blocks[i]);
    }
}

enum phase { CLOSED, OPEN, CLOSED_AGAIN };
static atomic_int phase;
static atomic_int begun; /* threads that have allocated */

static void
wait_for(enum phase wanted)
{
    while (atomic_load(&phase) < (int)wanted)
        usleep(1000);
}

/* The even threads end while the library is open, the odd ones when it has been closed. */
static void *
live_through(void *argument)
{
    unsigned number = (unsigned)(size_t)argument;
    void *before = malloc(100 + number);
    atomic_fetch_add(&begun, 1);
    wait_for(OPEN);
    use_both(number * 1000);
    late.free(before);
    if (number % 2 == 1)
        wait_for(CLOSED_AGAIN);
    free(malloc(200));
    return NULL;
}

static void
fork_and_allocate(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        free(malloc(100));
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", (unsigned)status);
}

/* Nothing allocated before it was closed is lost: the library may not go away under its blocks and its threads. */
static void
close_and_open_again(const char *path, int scope)
{
    unsigned char *kept = late.pm_malloc(300);
    pattern_write(kept, 300, 1);
    REQUIRE(dlclose(handle) == 0, "%s", dlerror());
    atomic_store(&phase, CLOSED_AGAIN);
    for (size_t size = 1; size < 5000; size += 50)
        free(malloc(size));
    fork_and_allocate();
    open_library(path, scope);
    use_both(9);
    REQUIRE(pattern_holds(kept, 300, 300, 1), "a block changed while the library was closed");
    late.pm_free(kept);
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 3, "which library, which scope?");
    int scope = strcmp(arguments[2], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL;
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, live_through, (void *)i) == 0, "no thread");
    while (atomic_load(&begun) < THREADS)
        usleep(1000);
    open_library(arguments[1], scope);
    atomic_store(&phase, OPEN);
    use_both(7);
    fork_and_allocate();
    for (size_t i = 0; i < THREADS; i += 2)
        pthread_join(threads[i], NULL);
    close_and_open_again(arguments[1], scope);
    for (size_t i = 1; i < THREADS; i += 2)
        pthread_join(threads[i], NULL);
    return 0;
}
