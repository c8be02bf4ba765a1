/* SPDX-License-Identifier: MIT
 *
 * libpoolmalloc_advise.so: preloaded by poolmalloc advise, it records what a program asks of malloc and passes every
 * call on. In front of each block lies a header with its size and birth; a block without one (from before, or from a
 * libc function that does not go through malloc) is passed on as it is.
 *
 * The record is a static object. When the library starts, a shared mapping of the process's file takes its place, with
 * what was counted until then; in a forked child that of another file. Counters are relaxed atomics.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "advise_record.h"
#include "compiler.h"

#define PAGE 4096
#define RECORD_BYTES ((sizeof(struct pm_record) + PAGE - 1) / PAGE * PAGE)
#define THREAD_SHIFT 48 /* sizes are smaller than that */
#define HEADER_MARK UINT64_C(0x9d0c5a17e3b286f4)

struct header {
    void *start; /* what the next malloc returned */
    uint64_t size_and_thread;
    uint64_t born_requests, born_bytes, born_nanoseconds;
    uint64_t mark; /* the last word: the one in front of the block, which is readable for every pointer from a malloc */
};

_Static_assert(sizeof(struct header) % 16 == 0, "a block keeps its alignment behind the header");

static _Alignas(PAGE) union {
    struct pm_record record;
    char bytes[RECORD_BYTES];
} place;

#define record place.record

/* The process's clocks; a forked child goes on with its parent's, so that the ages of inherited blocks are right. */
static uint64_t clock_requests, clock_bytes;
static uint64_t thread_count;
static PM_THREAD_LOCAL uint64_t thread_number;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void (*free)(void *);
    size_t (*malloc_usable_size)(void *);
} next;

/* While dlsym looks for the next malloc, its own requests come from here, and stay. */
static _Alignas(16) char bootstrap[16384];
static size_t bootstrap_used;

static uint64_t
add(uint64_t *counter, uint64_t amount)
{
    return __atomic_fetch_add(counter, amount, __ATOMIC_RELAXED) + amount;
}

static void *
bootstrap_take(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    size_t end = add(&bootstrap_used, size);
    return end <= sizeof bootstrap ? bootstrap + (end - size) : NULL;
}

static bool
is_bootstrap(const void *block)
{
    return (uintptr_t)block - (uintptr_t)bootstrap < sizeof bootstrap;
}

/* False while the functions are being looked up, by this call further out. */
static bool
find_next(void)
{
    static bool looking;
    if (PM_LIKELY(next.malloc != NULL))
        return true;
    if (looking)
        return false;
    looking = true;
    next.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    next.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    next.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "memalign");
    next.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    next.malloc_usable_size = (size_t (*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");
    next.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    looking = false;
    return next.malloc != NULL;
}

static uint64_t
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t
this_thread(void)
{
    if (thread_number == 0) {
        thread_number = add(&thread_count, 1) & 0xffff;
        add(&record.threads, 1);
    }
    return thread_number;
}

static struct header *
header_of(void *block)
{
    struct header *header = (struct header *)block - 1;
    return header->mark == (HEADER_MARK ^ (uintptr_t)block) ? header : NULL;
}

static size_t
size_of(const struct header *header)
{
    return header->size_and_thread & ((UINT64_C(1) << THREAD_SHIFT) - 1);
}

/* A block was asked for and got: `start` is the next malloc's, `block` ours. */
static void *
birth(void *start, char *block, size_t size)
{
    struct pm_record_blocks *blocks = size <= PM_SMALL_MAX ? &record.small : &record.large;
    add(&blocks->requests, 1);
    add(&blocks->bytes, size);
    add(size <= PM_SMALL_MAX ? &record.sizes[size] : &record.larger[pm_record_bits(size)], 1);
    uint64_t live = add(&record.live_bytes, size);
    uint64_t peak = __atomic_load_n(&record.live_bytes_peak, __ATOMIC_RELAXED);
    while (live > peak && (int64_t)live > 0 &&
           !__atomic_compare_exchange_n(&record.live_bytes_peak, &peak, live, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
    struct header *header = (struct header *)block - 1;
    *header = (struct header){start,
                              size | this_thread() << THREAD_SHIFT,
                              add(&clock_requests, 1),
                              add(&clock_bytes, size),
                              now(),
                              HEADER_MARK ^ (uintptr_t)block};
    return block;
}

static void
death(struct header *header)
{
    size_t size = size_of(header);
    struct pm_record_blocks *blocks = size <= PM_SMALL_MAX ? &record.small : &record.large;
    add(&blocks->frees, 1);
    if (header->size_and_thread >> THREAD_SHIFT != this_thread())
        add(&blocks->frees_elsewhere, 1);
    add(&blocks
             ->age_requests[pm_record_bits(__atomic_load_n(&clock_requests, __ATOMIC_RELAXED) - header->born_requests)],
        1);
    add(&blocks->age_bytes[pm_record_bits(__atomic_load_n(&clock_bytes, __ATOMIC_RELAXED) - header->born_bytes)], 1);
    add(&blocks->age_nanoseconds[pm_record_bits(now() - header->born_nanoseconds)], 1);
    add(&record.live_bytes, -(uint64_t)size);
    header->mark = 0;
}

static bool
too_large(size_t size)
{
    if (size <= PTRDIFF_MAX - PAGE)
        return false;
    errno = ENOMEM;
    return true;
}

PM_EXPORT void *
malloc(size_t size)
{
    if (PM_UNLIKELY(!find_next()))
        return bootstrap_take(size);
    char *start = too_large(size) ? NULL : next.malloc(size + sizeof(struct header));
    return start != NULL ? birth(start, start + sizeof(struct header), size) : NULL;
}

PM_EXPORT void *
calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || too_large(bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (PM_UNLIKELY(!find_next()))
        return bootstrap_take(bytes);
    char *start = next.calloc(1, bytes + sizeof(struct header));
    return start != NULL ? birth(start, start + sizeof(struct header), bytes) : NULL;
}

PM_EXPORT void
free(void *block)
{
    if (block == NULL || is_bootstrap(block) || !find_next())
        return;
    int saved = errno;
    struct header *header = header_of(block);
    void *start = block;
    if (header != NULL) {
        start = header->start;
        death(header);
    }
    next.free(start);
    errno = saved;
}

static void *
aligned(size_t alignment, size_t size)
{
    if (too_large(size) || alignment > PTRDIFF_MAX / 4 || !find_next()) {
        errno = ENOMEM;
        return NULL;
    }
    if (alignment <= sizeof(void *) * 2)
        return malloc(size);
    size_t room = pm_round_up(sizeof(struct header), alignment);
    char *start = next.memalign(alignment, size + room);
    return start != NULL ? birth(start, start + room, size) : NULL;
}

PM_EXPORT void *
realloc(void *block, size_t size)
{
    if (block == NULL)
        return malloc(size);
    struct header *header = is_bootstrap(block) ? NULL : header_of(block);
    if (size == 0 && !is_bootstrap(block)) {
        free(block);
        return NULL;
    }
    if (header == NULL && !is_bootstrap(block))
        return find_next() ? next.realloc(block, size) : NULL;
    if (too_large(size))
        return NULL;
    add(&record.reallocations, 1);
    if (header != NULL && header->start == header) {
        struct header before = *header;
        header->mark = 0;
        char *start = next.realloc(header, size + sizeof before);
        if (start == NULL) {
            header->mark = before.mark;
            return NULL;
        }
        death(&before);
        return birth(start, start + sizeof before, size);
    }
    void *moved = malloc(size);
    if (moved == NULL)
        return NULL;
    size_t kept = header != NULL ? size_of(header) : (size_t)(bootstrap + sizeof bootstrap - (char *)block);
    memcpy(moved, block, kept < size ? kept : size);
    free(block);
    return moved;
}

PM_EXPORT void *
reallocarray(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes))
        return realloc(block, bytes);
    errno = ENOMEM;
    return NULL;
}

PM_EXPORT void *
memalign(size_t alignment, size_t size)
{
    return aligned(alignment, size);
}

PM_EXPORT void *
aligned_alloc(size_t alignment, size_t size)
{
    return aligned(alignment, size);
}

PM_EXPORT int
posix_memalign(void **result, size_t alignment, size_t size)
{
    if (!pm_is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *block = aligned(alignment, size);
    errno = saved;
    if (block == NULL)
        return ENOMEM;
    *result = block;
    return 0;
}

PM_EXPORT void *
valloc(size_t size)
{
    return aligned(PAGE, size);
}

PM_EXPORT void *
pvalloc(size_t size)
{
    return aligned(PAGE, pm_round_up(size, PAGE));
}

PM_EXPORT size_t
malloc_usable_size(void *block)
{
    if (block == NULL || is_bootstrap(block) || !find_next())
        return 0;
    struct header *header = header_of(block);
    return header != NULL ? size_of(header) : next.malloc_usable_size(block);
}

/* A file of its own takes the place of the record. */
static void
open_record(void)
{
    const char *directory = getenv(PM_RECORD_DIRECTORY);
    char path[4096];
    int file = -1;
    if (directory == NULL)
        return;
    /* A process that executes another program has several, one after the other. */
    for (unsigned number = 0; file < 0 && number < 1000; number++) {
        snprintf(path, sizeof path, "%s/%d.%u", directory, (int)getpid(), number);
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file < 0 && errno != EEXIST)
            return;
    }
    record.magic = PM_RECORD_MAGIC;
    snprintf(record.program, sizeof record.program, "%s", program_invocation_short_name);
    if (file >= 0 && write(file, &place, sizeof place) == (ssize_t)sizeof place)
        mmap(&place, sizeof place, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (file >= 0)
        close(file);
}

static void
after_fork(void)
{
    if (mmap(&place, sizeof place, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) ==
        MAP_FAILED)
        return;
    add(&record.threads, 1);
    open_record();
}

__attribute__((constructor)) static void
start(void)
{
    int saved = errno;
    find_next();
    open_record();
    pthread_atfork(NULL, NULL, after_fork);
    errno = saved;
}
