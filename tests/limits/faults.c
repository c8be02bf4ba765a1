/* SPDX-License-Identifier: MIT
 *
 * Each call by which the library asks the kernel for memory, or the C library for a thread's key, fails once: the first,
 * the second, and so on until none is left. A workload of all kinds of requests, in threads and over a fork, goes on; no
 * block is lost or changed, and every heap is whole in the end. Then the same with all calls failing from the Nth on,
 * and with the system allocator failing as well, the only time that a request may end with NULL, and ENOMEM.
 *
 * `faults once|on|everything` runs itself for each N. The calls are led here by the linker's --wrap, from the library's
 * objects alone.
 */
#include "alloc.h"
#include "heap.h"
#include "process.h"
#include "region.h"
#include "support/check.h"

#include <errno.h>
#include <poolmalloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSED = 0, NOTHING_FAILED = 42, RUNS_MAX = 4000 };

/* ---- Failing ---- */

enum mode { ONCE, ON, EVERYTHING };

static const char *const modes[] = {"once", "on", "everything"};

static enum mode mode;
static size_t fail_at; /* 0: never */
static atomic_size_t calls;
static atomic_int failed, no_memory;

/* The library's first call comes before any other function here. */
static void
read_settings(void)
{
    static int known;
    if (known)
        return;
    known = 1;
    const char *at = getenv("FAIL_AT"), *how = getenv("FAIL_MODE");
    fail_at = at != NULL ? strtoul(at, NULL, 10) : 0;
    while (how != NULL && strcmp(modes[mode], how) != 0)
        mode++;
}

static int
fails(int error)
{
    read_settings();
    size_t number = atomic_fetch_add(&calls, 1) + 1;
    if (fail_at == 0 || number < fail_at || (mode == ONCE && number != fail_at))
        return 0;
    atomic_store(&failed, 1);
    atomic_store(&no_memory, mode == EVERYTHING);
    errno = error;
    return 1;
}

static void
stop_failing(void)
{
    fail_at = 0;
    atomic_store(&no_memory, 0);
}

#define WRAPPED(type, name, failure, error, parameters, arguments) \
    type __real_##name parameters;                                 \
    type __wrap_##name parameters;                                 \
    type __wrap_##name parameters                                  \
    {                                                              \
        return fails(error) ? (failure) : __real_##name arguments; \
    }

WRAPPED(void *, mmap, MAP_FAILED, ENOMEM, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset))
WRAPPED(int, munmap, -1, ENOMEM, (void *at, size_t size), (at, size))
WRAPPED(int, mprotect, -1, ENOMEM, (void *at, size_t size, int protection), (at, size, protection))
WRAPPED(int, madvise, -1, EINVAL, (void *at, size_t size, int advice), (at, size, advice))
WRAPPED(int, pthread_key_create, EAGAIN, EAGAIN, (pthread_key_t * key, void (*destructor)(void *)), (key, destructor))
WRAPPED(int, pthread_setspecific, ENOMEM, ENOMEM, (pthread_key_t key, const void *value), (key, value))

/* The system allocator has no memory either, from the Nth of the calls above on. */
#define WITHOUT_MEMORY(name, parameters, arguments)     \
    void *__real_##name parameters;                     \
    void *__wrap_##name parameters;                     \
    void *__wrap_##name parameters                      \
    {                                                   \
        if (!atomic_load(&no_memory))                   \
            return __real_##name arguments;             \
        errno = ENOMEM;                                 \
        return NULL;                                    \
    }

WITHOUT_MEMORY(malloc, (size_t size), (size))
WITHOUT_MEMORY(calloc, (size_t count, size_t size), (count, size))
WITHOUT_MEMORY(realloc, (void *block, size_t size), (block, size))
WITHOUT_MEMORY(aligned_alloc, (size_t alignment, size_t size), (alignment, size))

/* ---- The workload ---- */

enum { BLOCKS = 16000, OF_THREADS = 1500, STRETCH = 2000, HELD = 20 };

/* Each begins with its size and ends with the low byte of it. */
static size_t *blocks[BLOCKS];

static void
require_success(const void *block, size_t size)
{
    REQUIRE(block != NULL || (mode == EVERYTHING && atomic_load(&no_memory) && errno == ENOMEM),
            "FAIL_AT=%zu: no %zu bytes, errno %d", fail_at, size, errno);
}

static size_t *
fill(size_t *block, size_t size)
{
    require_success(block, size);
    if (block != NULL) {
        *block = size;
        if (size > sizeof *block)
            ((unsigned char *)block)[size - 1] = (unsigned char)size;
    }
    return block;
}

static void
require_contents(const size_t *block)
{
    size_t size = *block;
    REQUIRE(size == sizeof *block || ((const unsigned char *)block)[size - 1] == (unsigned char)size,
            "FAIL_AT=%zu: a block of %zu bytes changed", fail_at, size);
}

/* Of all kinds, most of them small. */
static size_t
size_of(size_t i)
{
    return i % 1000 == 0 ? 40000 + i : i % 100 == 0 ? 600 + i % 9000 : sizeof(size_t) + i * 7919 % 505;
}

static size_t *
take(size_t i)
{
    size_t size = size_of(i);
    void *block = NULL;
    errno = 0;
    switch (i % 16) {
    case 1:
        return fill(pm_calloc(1, size), size);
    case 2:
        return fill(pm_aligned_alloc(64, size), size);
    case 3:
        errno = pm_posix_memalign(&block, 128, size);
        return fill(block, size);
    default:
        return fill(pm_malloc(size), size);
    }
}

static void
give(size_t **block)
{
    if (*block != NULL) {
        require_contents(*block);
        pm_free(*block);
    }
    *block = NULL;
}

static void
resize(size_t **block, size_t size)
{
    if (*block == NULL)
        return;
    errno = 0;
    size_t before = **block;
    require_contents(*block);
    size_t *moved = pm_realloc(*block, size);
    require_success(moved, size);
    if (moved == NULL)
        return;
    *block = moved;
    REQUIRE(*moved == before, "FAIL_AT=%zu: realloc lost the contents", fail_at);
    fill(moved, size);
}

/* Frees what the main thread has allocated, and allocates what that will free. */
static void *
exchange(void *first)
{
    size_t **own = first;
    for (size_t i = 0; i < OF_THREADS; i++)
        give(&own[i]);
    for (size_t i = 0; i < OF_THREADS; i++)
        own[i] = take(i + 5);
    for (size_t i = 0; i < OF_THREADS; i += 2)
        give(&own[i]);
    return NULL;
}

static void
run_threads(void)
{
    for (size_t i = 0; i < 3; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, exchange, &blocks[i * OF_THREADS]) == 0, "no thread");
        pthread_join(thread, NULL);
    }
}

/* Most of the blocks, in stretches, so that pages become free; and they come again. */
static void
make_waves(void)
{
    for (int wave = 0; wave < 2; wave++) {
        for (size_t i = 0; i < BLOCKS; i++)
            if (i / STRETCH % 10 != 0)
                give(&blocks[i]);
        pm_trim(0);
        for (size_t i = 0; i < BLOCKS; i++)
            if (blocks[i] == NULL)
                blocks[i] = take(i);
    }
}

static void
run_child(void)
{
    int status;
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        run_threads();
        for (size_t i = 0; i < BLOCKS / 2; i++)
            give(&blocks[i]);
        pm_trim(0);
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "FAIL_AT=%zu: the child: %x", fail_at, status);
}

/* The address space is limited, though not by much: the region becomes as small as it can, and grows. */
static void
limit(void)
{
    struct rlimit far_away = {RLIM_INFINITY - 1, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &far_away) == 0, "setrlimit");
    pm_region_obey_limit();
    pm_region_shrink(0);
}

/* Nobody uses most of the first chunk: so the workload is small, and needs a second one. */
static uintptr_t held[HELD];

static void
hold_arenas(void)
{
    for (size_t i = 0; i < HELD; i++)
        held[i] = pm_region_take_arena(false).address;
}

static void
return_arenas(void)
{
    for (size_t i = 0; i < HELD; i++)
        if (held[i] != 0)
            pm_region_return_arena(held[i]);
}

static void
work(void)
{
    hold_arenas();
    for (size_t i = 0; i < BLOCKS / 3; i++)
        blocks[i] = take(i);
    run_threads();
    limit();
    for (size_t i = BLOCKS / 3; i < BLOCKS; i++)
        blocks[i] = take(i);
    for (size_t i = 0; i < BLOCKS; i += 3)
        resize(&blocks[i], size_of(i + 11));
    run_child();
    run_threads();
    make_waves();
    return_arenas();
}

/* ---- What must be so in the end ---- */

static void
require_whole_heaps(void)
{
    for (struct pm_heap *heap = pm_process_newest_heap(); heap != NULL; heap = heap->next)
        pm_heap_verify(heap);
}

static size_t
blocks_in_use(void)
{
    struct pm_stats stats;
    size_t count = 0;
    pm_stats_get(&stats);
    REQUIRE(stats.heaps != 0 || pm_process_newest_heap() == NULL, "no statistics");
    REQUIRE(stats.heaps_parked + 1 >= stats.heaps, "FAIL_AT=%zu: of %zu heaps only %zu wait for a thread", fail_at,
            stats.heaps, stats.heaps_parked);
    REQUIRE(stats.pools + stats.pools_free + stats.pools_reserved + stats.pools_maps == 63 * stats.arenas,
            "FAIL_AT=%zu: pools of %zu arenas are missing", fail_at, stats.arenas);
    for (size_t i = 0; i < PM_CLASS_COUNT; i++)
        count += stats.classes[i].blocks_in_use;
    return count;
}

static void
require_all_there(void)
{
    size_t pooled = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL)
            require_contents(blocks[i]);
        pooled += blocks[i] != NULL && pm_is_pooled(blocks[i]);
    }
    require_whole_heaps();
    size_t known = blocks_in_use();
    REQUIRE(known == pooled, "%zu blocks in use, the statistics say %zu", pooled, known);
    for (size_t i = 0; i < BLOCKS; i++)
        give(&blocks[i]);
    known = blocks_in_use();
    REQUIRE(known == 0, "%zu blocks are lost", known);
    pm_trim(0);
    require_whole_heaps();
}

static int
run_once(void)
{
    size_t at = fail_at;
    work();
    stop_failing();
    require_all_there();
    /* And after a failure everything works again. */
    for (size_t i = 0; i < BLOCKS / 10; i++)
        blocks[i] = take(i);
    require_all_there();
    return at == 0 || atomic_load(&failed) ? PASSED : NOTHING_FAILED;
}

/* ---- Each N ---- */

static int
run_with(const char *program, const char *how, size_t at)
{
    char number[32];
    int status;
    snprintf(number, sizeof number, "%zu", at);
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        setenv("FAIL_AT", number, 1);
        setenv("FAIL_MODE", how, 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
    REQUIRE(WIFEXITED(status), "FAIL_AT=%zu FAIL_MODE=%s %s: killed by signal %d", at, how, program, WTERMSIG(status));
    return WEXITSTATUS(status);
}

int
main(int count, char **arguments)
{
    if (count == 1)
        return run_once();
    size_t at = 1;
    for (int status; (status = run_with(arguments[0], arguments[1], at)) != NOTHING_FAILED; at++) {
        REQUIRE(status == PASSED, "FAIL_AT=%zu FAIL_MODE=%s %s: status %d", at, arguments[1], arguments[0], status);
        REQUIRE(at < RUNS_MAX, "there is no end of calls");
    }
    REQUIRE(at > 50, "only %zu calls: hardly a test", at);
    printf("%zu calls\n", at - 1);
    return 0;
}
