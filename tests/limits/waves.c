/* SPDX-License-Identifier: MIT
 *
 * `waves <MiB> <MiB limit>`: takes and frees so much memory again and again, each time in blocks of another size. What
 * it holds at any time stays below the limit, or the argument `cgroup` after them makes the kernel enforce it: the
 * process moves into a memory control group of its own, and is killed at the limit. Exits with 77 (skipped) where it
 * cannot make one.
 */
#include "support/check.h"
#include "support/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GENEROUS_SECONDS = 60 };

struct block {
    struct block *next;
};

static void
one_wave(size_t size, size_t total)
{
    struct block *list = NULL;
    for (size_t taken = 0; taken < total; taken += size) {
        struct block *block = malloc(size);
        REQUIRE(block != NULL, "no memory for %zu bytes", size);
        memset(block, 1, size);
        block->next = list;
        list = block;
    }
    while (list != NULL) {
        struct block *next = list->next;
        free(list);
        list = next;
    }
}

/* The program does little until at most `most` bytes are resident: free memory goes back to the kernel meanwhile, by
 * itself. */
static void
wait_until_below(size_t most)
{
    for (int i = 0; resident_bytes() > most; i++) {
        REQUIRE(i < GENEROUS_SECONDS * 100, "%zu KiB stay resident", resident_bytes() >> 10);
        one_wave(64, 1 << 16);
        usleep(10000);
    }
}

/* What one size had serves the next at once while both are sizes of the pools; before the first one that is not, the
 * memory goes back. What the system allocator holds is its own business, so it comes last. */
static void
waves(size_t total, size_t limit)
{
    static const size_t sizes[] = {16, 64, 500, 48, 112, 300, 8, 256, 32, 512, 80, 400, 24, 1000, 5000, 200000};
    size_t before = resident_bytes();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] == 1000)
            wait_until_below(before + (limit - total) / 2);
        one_wave(sizes[i], total);
        size_t more = resident_bytes() - before;
        REQUIRE(more < limit, "%zu KiB resident after %zu KiB in blocks of %zu bytes", more >> 10, total >> 10,
                sizes[i]);
    }
}

static int
write_number(const char *directory, const char *name, size_t number)
{
    char path[256];
    char text[32];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int length = snprintf(text, sizeof text, "%zu", number);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    int written = file >= 0 && write(file, text, (size_t)length) == length;
    close(file);
    return written;
}

/* Makes a group under either hierarchy's usual place; 0 when that is not to be had. */
static int
make_group(char *directory, size_t room, size_t limit)
{
    static const char *const places[][2] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                            {"/sys/fs/cgroup", "memory.max"}};
    for (int i = 0; i < 2; i++) {
        snprintf(directory, room, "%s/poolmalloc-test-%d", places[i][0], (int)getpid());
        if (mkdir(directory, 0755) != 0)
            continue;
        if (write_number(directory, places[i][1], limit))
            return 1;
        rmdir(directory);
    }
    return 0;
}

static int
waves_in_group(size_t total, size_t limit)
{
    char directory[128];
    int status = 0;
    if (!make_group(directory, sizeof directory, limit))
        return 77;
    pid_t child = fork();
    if (child == 0) {
        if (!write_number(directory, "cgroup.procs", (size_t)getpid()))
            _exit(77);
        waves(total, limit);
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
    for (int i = 0; i < GENEROUS_SECONDS * 100 && rmdir(directory) != 0; i++)
        usleep(10000);
    REQUIRE(WIFEXITED(status), "killed by signal %d at %zu MiB", WTERMSIG(status), limit >> 20);
    return WEXITSTATUS(status);
}

int
main(int count, char **arguments)
{
    REQUIRE(count >= 3, "how much?");
    size_t total = strtoul(arguments[1], NULL, 10) << 20;
    size_t limit = strtoul(arguments[2], NULL, 10) << 20;
    if (count == 4)
        return waves_in_group(total, limit);
    waves(total, limit);
    return 0;
}
