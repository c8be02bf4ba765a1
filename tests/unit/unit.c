/* SPDX-License-Identifier: MIT
 *
 * See unit.h.
 */
#include "unit.h"

#include "heap.h"
#include "region.h"
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FLAGS_SIZE = 256 };

uint64_t test_now = 1000000;
void (*test_meanwhile)(void);

uint64_t __wrap_pm_os_milliseconds(void);
uint64_t
__wrap_pm_os_milliseconds(void)
{
    uint64_t seen = test_now;
    void (*happens)(void) = test_meanwhile;
    test_meanwhile = NULL;
    if (happens != NULL)
        happens();
    return seen;
}

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

/* The next mapping in /proc/self/smaps: where it is, and its flags, each with a blank on both sides. */
static bool
next_mapping(FILE *maps, unsigned long *start, unsigned long *end, char *flags)
{
    for (char line[512]; fgets(line, sizeof line, maps) != NULL;) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            *start = from;
            *end = to;
        } else if (strncmp(line, "VmFlags:", 8) == 0) {
            snprintf(flags, FLAGS_SIZE, "%.*s", FLAGS_SIZE - 1, line + 8);
            return true;
        }
    }
    return false;
}

static FILE *
open_mappings(void)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    REQUIRE(maps != NULL, "/proc/self/smaps");
    return maps;
}

bool
mapping_has_flag(const void *address, const char *flag)
{
    char wanted[8], flags[FLAGS_SIZE];
    unsigned long start, end, at = (unsigned long)address;
    bool found = false;
    snprintf(wanted, sizeof wanted, " %s ", flag);
    FILE *maps = open_mappings();
    while (!found && next_mapping(maps, &start, &end, flags))
        found = at >= start && at < end && strstr(flags, wanted) != NULL;
    fclose(maps);
    return found;
}

int
lock_pages(const void *address, size_t bytes)
{
    return (int)syscall(SYS_mlock, address, bytes);
}

int
unlock_pages(void)
{
    return (int)syscall(SYS_munlockall);
}

size_t
mappings_with_flag(const char *flag)
{
    char wanted[8], flags[FLAGS_SIZE];
    unsigned long start, end;
    size_t count = 0;
    snprintf(wanted, sizeof wanted, " %s ", flag);
    FILE *maps = open_mappings();
    while (next_mapping(maps, &start, &end, flags))
        count += strstr(flags, wanted) != NULL;
    fclose(maps);
    return count;
}

void
huge_page_flags(const void *base, size_t count, bool *wanted, bool *refused)
{
    char flags[FLAGS_SIZE];
    unsigned long start, end;
    memset(wanted, 0, count);
    memset(refused, 0, count);
    FILE *maps = open_mappings();
    while (next_mapping(maps, &start, &end, flags))
        for (size_t i = 0; i < count; i++) {
            unsigned long at = (unsigned long)base + i * PM_REGION_ALIGNMENT;
            wanted[i] |= at >= start && at < end && strstr(flags, " hg ") != NULL;
            refused[i] |= at >= start && at < end && strstr(flags, " nh ") != NULL;
        }
    fclose(maps);
}

enum pm_fault
return_block(struct pm_pool *pool, void *block)
{
    enum pm_fault fault = PM_FAULT_NONE;
    unsigned returned = pm_pool_return(pool, &block, 1, &fault);
    REQUIRE(returned == (fault == PM_FAULT_NONE), "%u blocks returned, fault %d", returned, fault);
    return fault;
}

struct pm_heap *
busy_heap(void)
{
    struct pm_heap *heap = pm_heap_create();
    REQUIRE(heap != NULL, "no heap");
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++)
        heap->magazines[number].moved = PM_MAGAZINE_MOVED_MAX;
    return heap;
}

bool
has_arenas(const struct pm_heap *heap)
{
    return heap->arenas[PM_ARENAS_DIRTY].first != NULL || heap->arenas[PM_ARENAS_CLEAN].first != NULL;
}

static unsigned
list_of(const struct pm_arena *arena)
{
    if (pm_arena_purgeable(arena) != 0)
        return PM_ARENAS_DIRTY;
    return arena->free_pools != 0 ? PM_ARENAS_CLEAN : PM_ARENAS_NO_LIST;
}

static void
require_no_unknown_memory(const struct pm_arena *arena)
{
    for (uint64_t bits = arena->free_pools & ~arena->dirty_pools; bits != 0; bits &= bits - 1) {
        unsigned index = (unsigned)__builtin_ctzll(bits);
        REQUIRE(!page_is_resident(pm_arena_pool(arena, index)), "the kernel holds memory for the clean pool %u", index);
    }
}

void
require_lists(struct pm_heap *heap)
{
    size_t listed = 0, on_lists = 0, purgeable = 0, assigned = 0, wide_maps = 0, of_classes = 0;
    pm_heap_verify(heap);
    for (unsigned list = 0; list < PM_ARENAS_LISTS; list++) {
        const struct pm_arena *previous = NULL;
        for (const struct pm_arena *arena = heap->arenas[list].first; arena != NULL; arena = arena->next) {
            REQUIRE(arena->previous == previous, "list %u is broken", list);
            REQUIRE(list_of(arena) == list, "an arena of list %u is on list %u", list_of(arena), list);
            previous = arena;
            listed++;
        }
        REQUIRE(heap->arenas[list].last == previous, "list %u has another end", list);
    }
    for (uintptr_t at = 0; (at = pm_region_next_arena(at)) != 0; at += PM_ARENA_SIZE) {
        const struct pm_arena *arena = (const struct pm_arena *)at;
        if (arena->heap != heap)
            continue;
        REQUIRE(arena->list == list_of(arena), "an arena of list %u is on list %u", list_of(arena), arena->list);
        require_no_unknown_memory(arena);
        on_lists += arena->list != PM_ARENAS_NO_LIST;
        purgeable += pm_arena_purgeable(arena);
        assigned += arena->assigned;
        wide_maps += arena->wide_maps != 0;
    }
    REQUIRE(listed == on_lists, "%zu arenas belong on the lists, %zu are there", on_lists, listed);
    REQUIRE(heap->keep.dirty == purgeable, "%zu pools can be purged instead of %zu", purgeable, heap->keep.dirty);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        of_classes += heap->classes[class].pools;
    REQUIRE(heap->pools == of_classes && assigned == of_classes + wide_maps, "%zu pools, the classes have %zu, %zu %s",
            heap->pools, of_classes, assigned, "are assigned");
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
