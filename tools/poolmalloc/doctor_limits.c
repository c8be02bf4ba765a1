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

static void
print_mappings(pid_t pid)
{
    char line[128], path[64], value[48];
    read_line("/proc/sys/vm/max_map_count", line, sizeof line);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)(pid != 0 ? pid : getpid()));
    FILE *file = fopen(path, "re");
    unsigned long count = 0;
    for (int character; file != NULL && (character = getc(file)) != EOF;)
        count += character == '\n';
    if (file != NULL)
        fclose(file);
    unsigned long most = strtoul(line, NULL, 10);
    if (pid != 0)
        snprintf(value, sizeof value, "%lu of %lu", count, most);
    else
        snprintf(value, sizeof value, "%lu", most);
    print_limit("mappings", value, pid != 0 && count > most - most / 8
                ? "nearly all are taken; poolmalloc's pools take at most four of them"
                : "no matter: the pools take at most four");
}

static void
print_overcommit(void)
{
    char line[128];
    read_line("/proc/sys/vm/overcommit_memory", line, sizeof line);
    print_limit("overcommit", line, line[0] == '2' ? "strict: the pools' accessible part counts, 16 MiB at a time"
                                                  : "no matter: reserved address space is not counted");
}

static void
print_huge_pages(void)
{
    char line[128], value[32] = "?";
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line);
    char *start = strchr(line, '['), *end = strchr(line, ']');
    if (start != NULL && end != NULL)
        snprintf(value, sizeof value, "%.*s", (int)(end - start - 1), start + 1);
    print_limit("huge pages", value, strcmp(value, "always") == 0
                ? "faster on large heaps; pages given back one by one split them"
                : strcmp(value, "?") == 0 ? "the kernel does not say" : "no matter: the pools use small pages");
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
pm_limits_print(pid_t pid)
{
    puts("\nlimits");
    print_bytes_limit("address space", pid, RLIMIT_AS,
                      "a quarter of it is reserved for the pools, less if need be (ulimit -v)",
                      "no matter: the pools reserve four times the memory");
    print_bytes_limit("data", pid, RLIMIT_DATA, "the accessible part of the pools counts (ulimit -d)", "no matter");
    print_bytes_limit("locked memory", pid, RLIMIT_MEMLOCK,
                      "only for programs that call mlockall: give them a small POOLMALLOC_REGION", "no matter");
    print_mappings(pid);
    print_overcommit();
    print_huge_pages();
    print_group(pid);
}
