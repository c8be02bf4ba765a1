/* SPDX-License-Identifier: MIT */
#include "account.h"

#include <string.h>

#include "os.h"
#include "reader.h"

const struct pm_part_name pm_part_names[PM_PARTS] = {
    [PM_PART_LIVE] = {"live_blocks", "live blocks", "the program holds them; less when it frees more"},
    [PM_PART_MAGAZINES] = {"magazines", "blocks in magazines", "free, at hand for threads; less with fewer threads"},
    [PM_PART_FREE_BLOCKS] = {"free_blocks", "free blocks in used pools", "on pages with live ones; gone when these are"},
    [PM_PART_REMAINDERS] = {"remainders", "ends of pools", "4096 is no multiple of the size; none for 64, 128"},
    [PM_PART_FREE_POOLS] = {"free_pools", "free pools not given back", "for reuse; malloc_trim(0), POOLMALLOC_PURGE=eager"},
    [PM_PART_TABLES] = {"tables", "descriptors and tables", "1/64 of arenas, heaps; less with fewer threads"},
    [PM_PART_SYSTEM_HEAP] = {"system_heap", "system allocator, [heap]", "blocks above 512 bytes, free ones; malloc_trim(0)"},
    [PM_PART_SYSTEM_MAPPINGS] = {"system_mappings", "system allocator, mappings",
                                 "at most; large blocks, free ones; malloc_trim(0)"},
    [PM_PART_ANONYMOUS] = {"anonymous", "other anonymous memory", "the program's mappings and data, threads' stacks"},
    [PM_PART_STACK] = {"stack", "main thread's stack", "less with less recursion, smaller local arrays"},
    [PM_PART_FILES] = {"files", "code and mapped files", "mostly shared; less with fewer libraries"},
};

const char *
pm_part_meaning(enum pm_part part, bool system_known)
{
    if (!system_known && part == PM_PART_SYSTEM_MAPPINGS)
        return "not asked for; part of the next line";
    if (!system_known && part == PM_PART_ANONYMOUS)
        return "system allocator's and program's mappings, stacks";
    return pm_part_names[part].meaning;
}

/* ---- Lines of a file in /proc ---- */

#define LINE_MAX_BYTES 128 /* no line that matters needs more; paths are cut */

struct mapping {
    uintptr_t start, end;
    enum { IN_REGION, SYSTEM_HEAP, STACK, NAMED, UNNAMED } kind;
};

struct reading {
    const struct pm_snapshot *snapshot;
    struct mapping now; /* the one whose lines are read */
    size_t rss[UNNAMED + 1];
    size_t heap_bytes; /* address space of [heap] */
    size_t peak, swapped;
};

static void
for_each_line(const char *path, void (*use)(struct reading *, const char *), struct reading *reading)
{
    char buffer[1024], line[LINE_MAX_BYTES + 1];
    size_t length = 0, count;
    int fd = pm_os_open(path);
    if (fd < 0)
        return;
    while ((count = pm_os_read(fd, buffer, sizeof buffer)) != 0) {
        for (size_t i = 0; i < count; i++) {
            if (buffer[i] != '\n') {
                if (length < LINE_MAX_BYTES)
                    line[length++] = buffer[i];
                continue;
            }
            line[length] = '\0';
            length = 0;
            use(reading, line);
        }
    }
    pm_os_close(fd);
}

static const char *
parse_hex(const char *text, uintptr_t *number)
{
    *number = 0;
    for (;; text++) {
        unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a' + 10)
                                                        : 16;
        if (digit == 16)
            return text;
        *number = *number << 4 | digit;
    }
}

/* "Name:    123 kB": the bytes when the line has that name. */
static bool
parse_kilobytes(const char *line, const char *name, size_t *bytes)
{
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0)
        return false;
    const char *digit = line + length;
    while (*digit == ' ' || *digit == '\t')
        digit++;
    size_t number = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++)
        number = number * 10 + (size_t)(*digit - '0');
    *bytes = number << 10;
    return true;
}

/* "start-end perms offset device inode   name" */
static void
begin_mapping(struct reading *reading, const char *line)
{
    struct mapping *now = &reading->now;
    const struct pm_region *region = &reading->snapshot->region;
    const char *rest = parse_hex(line, &now->start);
    rest = parse_hex(rest + (*rest == '-'), &now->end);
    for (unsigned field = 0; field < 5; field++) {
        while (*rest == ' ')
            rest++;
        while (field < 4 && *rest != ' ' && *rest != '\0')
            rest++;
    }
    if (now->start - region->base < region->size >> PM_POOL_SHIFT ||
        now->start - region->arenas < region->base + region->size - region->arenas)
        now->kind = IN_REGION;
    else if (strcmp(rest, "[heap]") == 0)
        now->kind = SYSTEM_HEAP;
    else if (strcmp(rest, "[stack]") == 0)
        now->kind = STACK;
    else
        now->kind = *rest == '\0' || strncmp(rest, "[anon", 5) == 0 ? UNNAMED : NAMED;
    if (now->kind == SYSTEM_HEAP)
        reading->heap_bytes += now->end - now->start;
}

static void
use_smaps(struct reading *reading, const char *line)
{
    size_t bytes;
    if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f'))
        begin_mapping(reading, line);
    else if (parse_kilobytes(line, "Rss:", &bytes))
        reading->rss[reading->now.kind] += bytes;
}

static void
use_status(struct reading *reading, const char *line)
{
    if (!parse_kilobytes(line, "VmHWM:", &reading->peak))
        parse_kilobytes(line, "VmSwap:", &reading->swapped);
}

/* ---- The parts ---- */

static size_t
smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* The pages of pools in use that are in memory: what their blocks are. Which pages the blocks in magazines lie on is
 * not known; they count as touched, since the program has held nearly all of them. */
static void
add_blocks(struct pm_account *account, const struct pm_snapshot *snapshot)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_row *row = &snapshot->classes[class];
        size_t blocks = row->resident_pools * pm_class_blocks(class);
        size_t taken = blocks - row->resident_free;
        size_t waiting = smaller(row->blocks_magazine, taken);
        account->parts[PM_PART_LIVE] += (taken - waiting) * row->block_bytes;
        account->parts[PM_PART_MAGAZINES] += waiting * row->block_bytes;
        account->parts[PM_PART_FREE_BLOCKS] += row->resident_free * row->block_bytes;
        account->parts[PM_PART_REMAINDERS] += row->resident_pools * PM_POOL_SIZE - blocks * row->block_bytes;
    }
}

static void
add_pages(struct pm_account *account, const struct pm_snapshot *snapshot)
{
    size_t tables = 0, free_pools = 0;
    for (size_t i = 0; i < snapshot->arenas; i++) {
        const uint8_t *resident = snapshot->arena_rows[i].resident;
        tables += resident[PM_POOL_DESCRIPTORS] + resident[PM_POOL_MAPS];
        free_pools += resident[PM_POOL_RESERVED] + resident[PM_POOL_FREE_DIRTY] + resident[PM_POOL_FREE];
    }
    account->parts[PM_PART_TABLES] += tables * PM_POOL_SIZE + snapshot->page_map_resident_bytes;
    account->parts[PM_PART_FREE_POOLS] += free_pools * PM_POOL_SIZE + snapshot->free_arenas_resident_bytes;
}

static size_t
sum_of_parts(const struct pm_account *account)
{
    size_t sum = 0;
    for (unsigned part = 0; part < PM_PARTS; part++)
        sum += account->parts[part];
    return sum;
}

/* The heaps of threads are unnamed mappings. */
static size_t
heaps_bytes(const struct pm_snapshot *snapshot)
{
    size_t bytes = 0;
    for (size_t i = 0; i < snapshot->heaps; i++)
        bytes += snapshot->heap_rows[i].resident_bytes;
    return bytes;
}

void
pm_account_take(struct pm_account *account, const struct pm_snapshot *snapshot, long pid,
                const struct pm_system_info *system)
{
    char path[PM_PROC_PATH_SIZE];
    struct reading reading = {.snapshot = snapshot};
    *account = (struct pm_account){0};
    if (!snapshot->residence_known)
        return;
    pm_reader_proc_path(path, pid, "smaps");
    for_each_line(path, use_smaps, &reading);
    pm_reader_proc_path(path, pid, "status");
    for_each_line(path, use_status, &reading);
    add_blocks(account, snapshot);
    add_pages(account, snapshot);
    /* A page that left the pools or came to them between the two readings, and pages that other processes share as
     * zero, make a difference: what the kernel counts beyond the parts is tables; what it does not count is not
     * resident. */
    size_t pools = sum_of_parts(account);
    if (pools < reading.rss[IN_REGION])
        account->parts[PM_PART_TABLES] += reading.rss[IN_REGION] - pools;
    size_t heaps = smaller(heaps_bytes(snapshot), reading.rss[UNNAMED]);
    size_t unnamed = reading.rss[UNNAMED] - heaps, mapped = 0;
    if (system != NULL && system->obtained_bytes > reading.heap_bytes)
        mapped = smaller(system->obtained_bytes - reading.heap_bytes, unnamed);
    account->parts[PM_PART_TABLES] += heaps;
    account->parts[PM_PART_SYSTEM_HEAP] = reading.rss[SYSTEM_HEAP];
    account->parts[PM_PART_SYSTEM_MAPPINGS] = mapped;
    account->parts[PM_PART_ANONYMOUS] = unnamed - mapped;
    account->parts[PM_PART_STACK] = reading.rss[STACK];
    account->parts[PM_PART_FILES] = reading.rss[NAMED];
    account->resident_bytes = sum_of_parts(account);
    account->peak_bytes = reading.peak > account->resident_bytes ? reading.peak : account->resident_bytes;
    account->swapped_bytes = reading.swapped;
    account->known = reading.rss[NAMED] != 0;
}
