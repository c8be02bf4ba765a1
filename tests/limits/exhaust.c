/* SPDX-License-Identifier: MIT
 *
 * Takes all memory there is, sees that every entry point then says NULL and ENOMEM, gives everything back and goes on:
 * `exhaust <MiB> <kind>...` does so for each kind of request in turn, and fails when it gets less than so many MiB, or
 * a second time much less than the first. It must be started under a limit.
 */
#include "support/check.h"
#include "support/names.h"
#include "support/random.h"

#include <errno.h>
#include <poolmalloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The blocks form a list through themselves: there is no other place to note them. */
struct block {
    struct block *next;
    size_t size;
};

static struct random sizes;

static size_t
small_size(void)
{
    return 64;
}

static size_t
large_size(void)
{
    return 1 << 18;
}

static size_t
kept_size(void)
{
    return 800;
}

static size_t
any_pooled_size(void)
{
    return random_between(&sizes, sizeof(struct block), 512);
}

static size_t
mixed_size(void)
{
    uint64_t kind = random_below(&sizes, 100);
    return kind < 60   ? random_between(&sizes, sizeof(struct block), 512)
           : kind < 90 ? random_between(&sizes, 513, 1200)
                       : random_between(&sizes, 1201, 60000);
}

static const struct kind {
    const char *name;
    size_t (*size)(void);
} kinds[] = {
    {"small", small_size}, {"pooled", any_pooled_size}, {"kept", kept_size}, {"large", large_size}, {"mixed", mixed_size},
};

static struct block *
take_all(const struct kind *kind, size_t *total)
{
    struct block *list = NULL;
    sizes.state = 1;
    *total = 0;
    for (;;) {
        size_t size = kind->size();
        errno = 0;
        struct block *block = mem.malloc(size);
        if (block == NULL)
            break;
        REQUIRE(mem.usable_size(block) >= size, "%s", kind->name);
        memset(block, 0x5a, size);
        *block = (struct block){list, size};
        list = block;
        *total += size;
    }
    REQUIRE(errno == ENOMEM, "%s: the last malloc set errno to %d", kind->name, errno);
    return list;
}

/* With nothing left, no entry point crashes, or loses the block it was given. */
static void
require_graceful(const struct kind *kind, struct block *some)
{
    size_t size = kind->size == large_size ? large_size() * 2 : 1 << 20;
    void *untouched = &untouched;
    errno = 0;
    REQUIRE(mem.calloc(1, size) == NULL && errno == ENOMEM, "%s: calloc: errno %d", kind->name, errno);
    errno = 0;
    REQUIRE(mem.realloc(NULL, size) == NULL && errno == ENOMEM, "%s: realloc: errno %d", kind->name, errno);
    errno = 0;
    REQUIRE(mem.aligned_alloc(64, size) == NULL && errno == ENOMEM, "%s: errno %d", kind->name, errno);
    errno = 0;
    REQUIRE(mem.posix_memalign(&untouched, 4096, size) == ENOMEM, "%s: posix_memalign", kind->name);
    REQUIRE(untouched == &untouched && errno == ENOMEM, "%s: posix_memalign: errno %d", kind->name, errno);
    if (some != NULL) {
        REQUIRE(mem.realloc(some, some->size + size) == NULL && errno == ENOMEM, "%s: errno %d", kind->name, errno);
        REQUIRE(*(unsigned char *)(some + 1) == 0x5a || some->size == sizeof *some, "%s: contents", kind->name);
    }
    struct pm_stats stats;
    pm_stats_get(&stats);
}

/* Programs that shrink a block do not expect that to fail, and have nothing to do if it does. Many are shrunk, so that
 * blocks which still wait in magazines do not serve them all. */
static void
require_shrinking(const struct kind *kind, struct block *list)
{
    int shrunk_blocks = 0;
    for (struct block *block = list; block != NULL && block->next != NULL && shrunk_blocks < 3000; block = block->next) {
        if (block->next->size <= 8 * sizeof *block)
            continue;
        struct block *rest = block->next->next;
        size_t size = block->next->size / 4;
        struct block *shrunk = mem.realloc(block->next, size);
        REQUIRE(shrunk != NULL, "%s: shrinking %zu to %zu bytes failed", kind->name, block->next->size, size);
        REQUIRE(shrunk->next == rest && ((unsigned char *)shrunk)[size - 1] == 0x5a, "%s: contents", kind->name);
        block->next = shrunk;
        shrunk->size = size;
        shrunk_blocks++;
    }
}

static void
give_all(struct block *list)
{
    while (list != NULL) {
        struct block *next = list->next;
        const unsigned char *bytes = (const unsigned char *)list;
        REQUIRE(list->size == sizeof *list || bytes[list->size - 1] == 0x5a, "a block of %zu bytes changed",
                list->size);
        mem.free(list);
        list = next;
    }
}

static void
exhaust(const struct kind *kind, size_t least)
{
    size_t totals[2];
    for (int round = 0; round < 2; round++) {
        struct block *list = take_all(kind, &totals[round]);
        REQUIRE(totals[round] >= least, "%s, time %d: only %zu KiB, %zu expected", kind->name, round + 1,
                totals[round] >> 10, least >> 10);
        require_graceful(kind, list);
        require_shrinking(kind, list);
        give_all(list);
    }
    REQUIRE(totals[1] >= totals[0] / 10 * 8, "%s: first %zu KiB, then %zu", kind->name, totals[0] >> 10,
            totals[1] >> 10);
    printf("%s %zu MiB\n", kind->name, totals[0] >> 20);
    fflush(stdout);
}

static void
require_limit(void)
{
    struct rlimit space;
    struct rlimit data;
    getrlimit(RLIMIT_AS, &space);
    getrlimit(RLIMIT_DATA, &data);
    REQUIRE(space.rlim_cur != RLIM_INFINITY || data.rlim_cur != RLIM_INFINITY, "start me under a limit");
}

int
main(int count, char **arguments)
{
    REQUIRE(count > 2, "how much of what?");
    require_limit();
    size_t least = strtoul(arguments[1], NULL, 10) << 20;
    for (int i = 2; i < count; i++) {
        int known = 0;
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
            if (strcmp(kinds[k].name, arguments[i]) == 0) {
                exhaust(&kinds[k], least);
                known = 1;
            }
        REQUIRE(known, "no kind %s", arguments[i]);
    }
    return 0;
}
