/* SPDX-License-Identifier: MIT
 *
 * See unit.h.
 */
#include "unit.h"

#include "region.h"
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a pipe holds is read when all is written: a pipe has room for 64 KiB. */
static void
read_all(int fd, char *text)
{
    size_t used = 0;
    for (ssize_t got; (got = read(fd, text + used, CAPTURE_SIZE - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(fd);
}

void
capture_stderr(void (*function)(void *), void *argument, char *text)
{
    int ends[2];
    int saved = dup(STDERR_FILENO);
    REQUIRE(saved >= 0 && pipe(ends) == 0, "no pipe");
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    function(argument);
    dup2(saved, STDERR_FILENO);
    close(saved);
    read_all(ends[0], text);
}

void
require_abort(void (*function)(void *), void *argument, const char *text)
{
    static const struct rlimit no_core = {0, 0};
    static char written[CAPTURE_SIZE];
    int ends[2], status;
    REQUIRE(pipe(ends) == 0, "no pipe");
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        function(argument);
        _exit(0);
    }
    close(ends[1]);
    read_all(ends[0], written);
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
    REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x, and it wrote: %s instead of: %s", status,
            written, text);
    REQUIRE(strcmp(written, text) == 0, "it wrote: %s instead of: %s", written, text);
}

void
require_bug(void (*function)(void *), void *argument, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "poolmalloc: internal error: %s\n", what);
    require_abort(function, argument, text);
}

bool
page_is_resident(const void *page)
{
    unsigned char state;
    REQUIRE(mincore((void *)page, 1, &state) == 0, "no mapping at %p", page);
    return state & 1;
}

size_t
resident_pages(const void *start, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    for (size_t offset = 0; offset < bytes; offset += page)
        count += page_is_resident((const char *)start + offset);
    return count;
}

const char *
mapping_protection(const void *address)
{
    static char protection[8];
    unsigned long start, end;
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps != NULL, "/proc/self/maps");
    for (char line[512]; !found && fgets(line, sizeof line, maps) != NULL;)
        found = sscanf(line, "%lx-%lx %7s", &start, &end, protection) == 3 && (unsigned long)address >= start &&
                (unsigned long)address < end;
    fclose(maps);
    return found ? protection : "";
}

void
fresh_region(size_t size)
{
    struct pm_region_counts counts;
    pm_region_init(size);
    pm_region_counts(&counts);
    REQUIRE(pm_region.size == size && counts.reserved_bytes == size, "%zu bytes instead of %zu", pm_region.size, size);
    REQUIRE(counts.committed_bytes == 0 && counts.arenas_peak == 0, "the old region was in use: %zu bytes, %zu arenas",
            counts.committed_bytes, counts.arenas_peak);
}
