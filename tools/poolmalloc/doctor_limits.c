/* SPDX-License-Identifier: MIT
 *
 * The limits of the system that bear on poolmalloc, each with what it means for it.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "command.h"
#include "doctor.h"

/* The first line of a file, without its end; "" when it cannot be read. */
static void
read_line(const char *path, char *line, size_t size)
{
    line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(line, (int)size, file) == NULL)
        line[0] = '\0';
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
}

static void
print_limit(const char *name, const char *value, const char *meaning)
{
    printf("  %-24s %-16s %s\n", name, value, meaning);
}

static void
print_bytes_limit(const char *name, pid_t pid, int resource, const char *limited, const char *unlimited)
{
    struct rlimit limit;
    char value[32] = "unlimited";
    if (prlimit(pid, resource, NULL, &limit) != 0)
        return;
    if (limit.rlim_cur != RLIM_INFINITY)
        snprintf(value, sizeof value, "%lu KiB", (unsigned long)limit.rlim_cur >> 10);
    print_limit(name, value, limit.rlim_cur != RLIM_INFINITY ? limited : unlimited);
}

/* The lines of /proc/PID/maps, and how many of them lie in the region of the pools. */
static unsigned long
count_mappings(const struct pm_limits *of, unsigned long *pools)
{
    char path[64], *line = NULL;
    size_t size = 0;
    unsigned long count = 0, start;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)(of->pid != 0 ? of->pid : getpid()));
    FILE *file = fopen(path, "re");
    *pools = 0;
    while (file != NULL && getline(&line, &size, file) > 0) {
        count++;
        *pools += sscanf(line, "%lx-", &start) == 1 && start >= of->pools_start && start < of->pools_end;
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return count;
}

static void
print_mappings(const struct pm_limits *of)
{
    char line[128], value[48], meaning[128];
    unsigned long pools, count = count_mappings(of, &pools);
    read_line("/proc/sys/vm/max_map_count", line, sizeof line);
    unsigned long most = strtoul(line, NULL, 10);
    if (most == 0 || count == 0) {
        print_limit("mappings", "?", "the kernel does not say");
        return;
    }
    bool scarce = of->pid != 0 && count > most - most / 8;
    if (of->pid != 0)
        snprintf(value, sizeof value, "%lu of %lu", count, most);
    else
        snprintf(value, sizeof value, "%lu", most);
    if (pools != 0)
        snprintf(meaning, sizeof meaning, "%s%lu %s the pools'", scarce ? "nearly all are taken; " : "", pools,
                 pools == 1 ? "is" : "are");
    else
        snprintf(meaning, sizeof meaning, "%sthe pools take a few, and more for huge pages: up to two for each",
                 scarce ? "nearly all are taken; " : "");
    print_limit("mappings", value, meaning);
}

static void
print_overcommit(void)
{
    char line[128];
    read_line("/proc/sys/vm/overcommit_memory", line, sizeof line);
    const char *meaning = line[0] == '\0'  ? "the kernel does not say"
                          : line[0] == '2' ? "strict: the pools' accessible part counts, 16 MiB at a time"
                                           : "no matter: reserved address space is not counted";
    print_limit("overcommit", line[0] != '\0' ? line : "?", meaning);
}

/* Has the process, or who started it, said that it wants none at all? */
static bool
has_no_huge_pages(pid_t pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    int enabled = 1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)(pid != 0 ? pid : getpid()));
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0)
        if (sscanf(line, "THP_enabled: %d", &enabled) == 1)
            break;
    free(line);
    if (file != NULL)
        fclose(file);
    return enabled == 0;
}

static void
print_huge_pages(const struct pm_limits *of)
{
    char line[128], value[32] = "?";
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line);
    char *start = strchr(line, '['), *end = strchr(line, ']');
    if (start != NULL && end > start)
        snprintf(value, sizeof value, "%.*s", (int)(end - start - 1), start + 1);
    print_limit("huge pages", value,
                strcmp(value, "?") == 0 ? "the kernel does not say"
                : strcmp(value, "never") == 0 ? "the kernel gives none: the pools use small pages"
                : has_no_huge_pages(of->pid) ? "switched off for this process (prctl): the pools use small pages"
                : of->no_huge_pages ? "POOLMALLOC_HUGE_PAGES is 0: the pools use small pages"
                : "heaps with more than 24 MiB in pools ask for them, unless POOLMALLOC_HUGE_PAGES is 0");
}

/* The limit of the control group (version 2), the nearest one up the tree. */
static void
print_group(pid_t pid)
{
    char name[64], line[512], path[1024], value[128] = "";
    snprintf(name, sizeof name, "/proc/%d/cgroup", (int)(pid != 0 ? pid : getpid()));
    read_line(name, line, sizeof line);
    if (strncmp(line, "0::/", 4) != 0)
        return;
    char *group = line + 3;
    for (;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        read_line(path, value, sizeof value);
        if (value[0] >= '0' && value[0] <= '9')
            break;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
    bool limited = value[0] >= '0' && value[0] <= '9';
    if (limited)
        snprintf(path, sizeof path, "%lu MiB", strtoul(value, NULL, 10) >> 20);
    else
        strcpy(path, "unlimited");
    print_limit("memory of the group", path,
                limited ? "counts resident memory; the reservation does not count" : "no matter");
}

void
pm_limits_print(const struct pm_limits *of)
{
    puts("\nlimits");
    print_bytes_limit("address space", of->pid, RLIMIT_AS,
                      "a quarter of it is reserved for the pools, less if need be (ulimit -v)",
                      "no matter: the pools reserve at least four times the memory, and 64 GiB");
    print_bytes_limit("data", of->pid, RLIMIT_DATA, "the accessible part of the pools counts (ulimit -d)", "no matter");
    print_bytes_limit("locked memory", of->pid, RLIMIT_MEMLOCK,
                      "only for programs that call mlockall: it must be above their POOLMALLOC_REGION", "no matter");
    print_mappings(of);
    print_overcommit();
    print_huge_pages(of);
    print_group(of->pid);
}
