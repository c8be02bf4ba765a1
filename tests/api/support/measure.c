/* SPDX-License-Identifier: MIT
 *
 * Readings from /proc: see measure.h.
 */
#include "measure.h"

#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
read_start(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0, "%s", path);
    size_t used = 0;
    for (ssize_t got; used < size - 1 && (got = read(file, text + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(file);
}

/* The column of /proc/self/statm, in bytes: 0 address space, 1 resident. */
static size_t
statm_bytes(int column)
{
    char text[256];
    read_start("/proc/self/statm", text, sizeof text);
    char *at = text;
    unsigned long pages = 0;
    for (int i = 0; i <= column; i++)
        pages = strtoul(at, &at, 10);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

size_t
resident_bytes(void)
{
    return statm_bytes(1);
}

size_t
address_space_bytes(void)
{
    return statm_bytes(0);
}

size_t
mapping_count(void)
{
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0, "/proc/self/maps");
    char text[8192];
    size_t lines = 0;
    for (ssize_t got; (got = read(file, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(file);
    return lines;
}

size_t
available_bytes(void)
{
    char text[2048];
    read_start("/proc/meminfo", text, sizeof text);
    const char *line = strstr(text, "MemAvailable:");
    return line == NULL ? 0 : strtoul(line + strlen("MemAvailable:"), NULL, 10) * 1024;
}

void
require_growth_below(size_t before, size_t limit, const char *what)
{
    size_t now = resident_bytes();
    REQUIRE(TEST_SANITIZED || now < before + limit,
            "%s: resident %zu KiB, %zu KiB before, at most %zu KiB more allowed", what, now / 1024, before / 1024,
            limit / 1024);
}
