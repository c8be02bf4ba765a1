/* SPDX-License-Identifier: MIT
 *
 * A program that limits its own address space while it runs, in each of the ways there are: `own_limit <way>`. Right
 * after that it can start a thread, map memory, load a library and fork, as with any malloc; its small requests then end
 * at the limit; and with a higher limit they get more. With "unseen" the library cannot know of the limit before it needs
 * memory itself.
 */
#include "support/check.h"
#include "support/measure.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <poolmalloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

enum { SIZE = 144, LIMIT = 200, HIGHER = 400 };

struct block {
    struct block *next;
};

static void
by_setrlimit(const struct rlimit *limit)
{
    REQUIRE(setrlimit(RLIMIT_AS, limit) == 0, "setrlimit: %s", strerror(errno));
}

static void
by_setrlimit64(const struct rlimit *limit)
{
    struct rlimit64 wide = {limit->rlim_cur, limit->rlim_max};
    REQUIRE(setrlimit64(RLIMIT_AS, &wide) == 0, "setrlimit64: %s", strerror(errno));
}

static void
by_prlimit(const struct rlimit *limit)
{
    struct rlimit former;
    REQUIRE(prlimit(0, RLIMIT_AS, limit, &former) == 0, "prlimit: %s", strerror(errno));
    REQUIRE(former.rlim_cur != limit->rlim_cur, "not the former limit");
}

static void
by_prlimit64(const struct rlimit *limit)
{
    struct rlimit64 wide = {limit->rlim_cur, limit->rlim_max};
    REQUIRE(prlimit64(getpid(), RLIMIT_AS, &wide, NULL) == 0, "prlimit64: %s", strerror(errno));
}

static void
unseen(const struct rlimit *limit)
{
    REQUIRE(syscall(SYS_prlimit64, 0, RLIMIT_AS, limit, NULL) == 0, "prlimit64: %s", strerror(errno));
}

static const struct way {
    const char *name;
    void (*set)(const struct rlimit *limit);
} ways[] = {
    {"setrlimit", by_setrlimit}, {"setrlimit64", by_setrlimit64}, {"prlimit", by_prlimit}, {"prlimit64", by_prlimit64},
    {"unseen", unseen},
};

static void *
allocate(void *unused)
{
    for (size_t size = 1; size < 2000; size += 7) {
        void *block = malloc(size);
        REQUIRE(block != NULL, "no %zu bytes in a thread", size);
        memset(block, 1, size);
        free(block);
    }
    return unused;
}

static void
require_all_works(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, allocate, NULL);
    REQUIRE(error == 0, "no thread: %s", strerror(error));
    pthread_join(thread, NULL);
    void *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapping != MAP_FAILED, "no mapping: %s", strerror(errno));
    munmap(mapping, MIB);
    void *library = dlopen("libresolv.so.2", RTLD_NOW);
    REQUIRE(library != NULL, "no library: %s", dlerror());
    dlclose(library);
}

/* How much there is, in small blocks, all of which lie where they should. */
static size_t
take_all(void)
{
    struct block *list = NULL;
    size_t total = 0;
    errno = 0;
    for (struct block *block; (block = malloc(SIZE)) != NULL; total += SIZE) {
        memset(block, 0x5a, SIZE);
        block->next = list;
        list = block;
        REQUIRE(total < 2000 * MIB, "the limit is not kept");
    }
    REQUIRE(errno == ENOMEM, "errno %d", errno);
    while (list != NULL) {
        struct block *next = list->next;
        REQUIRE(((unsigned char *)list)[SIZE - 1] == 0x5a, "a block changed");
        free(list);
        list = next;
    }
    malloc_trim(0);
    return total;
}

/* The C library may have reserved 64 MiB for the thread. */
static void
require_limited(const struct way *way, size_t mib)
{
    size_t total = take_all();
    REQUIRE(total >= (mib - 64 - 50) * MIB && total <= mib * MIB, "%s: %zu MiB of small blocks under a limit of %zu",
            way->name, total / MIB, mib);
}

static void
set(const struct way *way, size_t mib)
{
    struct rlimit limit = {mib * MIB, RLIM_INFINITY};
    errno = 77;
    way->set(&limit);
    REQUIRE(errno == 77, "errno became %d", errno);
    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == mib * MIB, "%s: another limit", way->name);
}

static void
live_under_limits(const struct way *way)
{
    void *before = malloc(SIZE);
    REQUIRE(pm_is_pooled(before), "not poolmalloc's");
    set(way, LIMIT);
    if (way->set != unseen)
        require_all_works();
    require_limited(way, LIMIT);
    require_all_works();
    set(way, HIGHER);
    require_limited(way, HIGHER);
    set(way, LIMIT);
    require_all_works();
    require_limited(way, LIMIT);
    REQUIRE(address_space_bytes() <= LIMIT * MIB, "%zu MiB of address space", address_space_bytes() / MIB);
    free(before);
}

/* Wrong calls fail as they always did, and change nothing. */
static void
require_errors(void)
{
    struct rlimit limit = {5, 4};
    size_t before = address_space_bytes();
    errno = 0;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == -1 && errno == EINVAL, "the soft limit above the hard one: %d", errno);
    errno = 0;
    REQUIRE(prlimit(0, (enum __rlimit_resource)99, NULL, &limit) == -1 && errno == EINVAL, "no resource: %d", errno);
    errno = 0;
    REQUIRE(prlimit(0, RLIMIT_AS, NULL, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY, "only asked: %d", errno);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 100;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0, "another resource: %s", strerror(errno));
    REQUIRE(address_space_bytes() == before, "the region was given back");
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "which way?");
    require_errors();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (strcmp(ways[i].name, arguments[1]) != 0)
            continue;
        /* First in a child: the parent's limits and address space stay as they are. */
        size_t before = address_space_bytes();
        int status;
        pid_t child = fork();
        REQUIRE(child >= 0, "fork: %s", strerror(errno));
        if (child == 0) {
            live_under_limits(&ways[i]);
            _exit(0);
        }
        REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child: %x", status);
        REQUIRE(address_space_bytes() == before, "the parent lost address space");
        live_under_limits(&ways[i]);
        return 0;
    }
    REQUIRE(0, "no way %s", arguments[1]);
}
