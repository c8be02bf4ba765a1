/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "stats.h"

#include <errno.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "poolmalloc.h"
#include "process.h"
#include "region.h"
#include "system.h"
#include "text.h"

/* ---- Gathering ---- */

static void
add_pools(struct pm_stats *stats, const struct pm_heap *heap)
{
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_pools *from = &heap->classes[class];
        struct pm_class_stats *to = &stats->classes[class - 1];
        to->pools += from->pools;
        to->blocks_free += from->free_blocks;
        to->refilled += from->counts.refilled;
        to->flushed += from->counts.flushed;
        to->flushed_remote += from->counts.flushed_remote;
        to->refills += from->counts.refills;
        to->flushes += from->counts.flushes;
    }
    for (unsigned list = 0; list < PM_ARENAS_LISTS; list++)
        for (const struct pm_arena *arena = heap->arenas[list].first; arena != NULL; arena = arena->next) {
            stats->pools_free += (size_t)__builtin_popcountll(arena->free_pools);
            stats->pools_free_dirty += (size_t)__builtin_popcountll(arena->free_pools & arena->dirty_pools);
        }
}

/* The magazines of other threads move while they are counted. */
static void
add_magazines(struct pm_stats *stats, const struct pm_heap *heap)
{
    for (unsigned number = 1; number < PM_MAGAZINE_COUNT; number++) {
        size_t count = pm_magazine_count(&heap->magazines[number]);
        if (number <= PM_CLASS_LAST) {
            stats->classes[number - 1].blocks_magazine += count;
        } else {
            stats->system_magazine_blocks += count;
            stats->system_magazine_bytes += count * pm_magazine_block_size(number);
        }
    }
}

static void
add_heaps(struct pm_stats *stats)
{
    for (struct pm_heap *heap = pm_process_first_heap(); heap != NULL; heap = heap->next) {
        pm_lock_acquire(&heap->lock);
        add_pools(stats, heap);
        add_magazines(stats, heap);
        stats->metadata_bytes += sizeof *heap + heap->slots_used * sizeof(void *);
        pm_lock_release(&heap->lock);
        stats->heaps++;
        stats->system_allocations += heap->system_allocations;
        stats->system_bytes += heap->system_bytes;
    }
    stats->heaps_parked = pm_process_parked_count();
}

PM_EXPORT void
pm_stats_get(struct pm_stats *stats)
{
    struct pm_region_counts region;
    memset(stats, 0, sizeof *stats);
    pm_process_heap(); /* starts the library if nothing else has */
    add_heaps(stats);
    pm_region_counts(&region);
    stats->region_bytes = region.reserved_bytes;
    stats->committed_bytes = region.committed_bytes;
    stats->arenas = region.arenas;
    stats->arenas_peak = region.arenas_peak;
    stats->arenas_free = region.arenas_free;
    stats->arenas_free_dirty = region.arenas_dirty;
    stats->metadata_bytes += region.arenas * (PM_POOL_SIZE + PM_ARENA_POOLS);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_class_stats *row = &stats->classes[class - 1];
        size_t elsewhere = row->blocks_free + row->blocks_magazine;
        size_t capacity = row->pools * pm_class_blocks(class);
        row->block_size = pm_class_size(class);
        row->blocks_in_use = capacity > elsewhere ? capacity - elsewhere : 0;
        stats->pools += row->pools;
        stats->bytes_in_use += row->blocks_in_use * row->block_size;
        stats->bytes_magazine += row->blocks_magazine * row->block_size;
        stats->bytes_free += row->blocks_free * row->block_size;
    }
}

void
pm_stats_totals(struct pm_totals *totals)
{
    struct pm_stats stats;
    struct pm_system_info system = {0};
    pm_stats_get(&stats);
    if (pm_system.info != NULL)
        pm_system.info(&system);
    totals->pool_used_bytes = stats.bytes_in_use;
    totals->pool_free_bytes =
        stats.bytes_magazine + stats.bytes_free + stats.pools_free_dirty * PM_POOL_SIZE;
    totals->obtained_bytes =
        system.obtained_bytes + stats.pools * PM_POOL_SIZE + stats.pools_free_dirty * PM_POOL_SIZE;
    /* Blocks that wait in magazines are in use as the system allocator sees it, if it says what it sees. */
    size_t waiting = stats.system_magazine_bytes < system.used_bytes ? stats.system_magazine_bytes : system.used_bytes;
    totals->used_bytes = system.used_bytes - waiting + totals->pool_used_bytes;
    totals->free_bytes = system.free_bytes + waiting + totals->pool_free_bytes;
    totals->mapped_blocks = system.mapped_blocks;
    totals->mapped_bytes = system.mapped_bytes;
    totals->trimmable_bytes = system.trimmable_bytes + stats.pools_free_dirty * PM_POOL_SIZE;
}

#ifdef __GLIBC__
struct mallinfo2
pm_stats_mallinfo2(void)
{
    struct pm_totals totals;
    pm_stats_totals(&totals);
    return (struct mallinfo2){
        .arena = totals.obtained_bytes - totals.mapped_bytes,
        .hblks = totals.mapped_blocks,
        .hblkhd = totals.mapped_bytes,
        .uordblks = totals.used_bytes > totals.mapped_bytes ? totals.used_bytes - totals.mapped_bytes : 0,
        .fordblks = totals.free_bytes,
        .keepcost = totals.trimmable_bytes,
    };
}

/* The same in int, as far as it fits: that is what is wrong with mallinfo(3). */
struct mallinfo
pm_stats_mallinfo(void)
{
    struct mallinfo2 wide = pm_stats_mallinfo2();
    return (struct mallinfo){
        .arena = (int)wide.arena,
        .hblks = (int)wide.hblks,
        .hblkhd = (int)wide.hblkhd,
        .uordblks = (int)wide.uordblks,
        .fordblks = (int)wide.fordblks,
        .keepcost = (int)wide.keepcost,
    };
}
#endif

/* ---- Text ---- */

static void
line(struct pm_text *text, const char *label, uint64_t number, const char *unit)
{
    pm_text_string(text, "  ");
    pm_text_label(text, label, 30);
    pm_text_column(text, number, 16);
    pm_text_string(text, unit);
    pm_text_string(text, "\n");
}

static void
print_class(struct pm_text *text, const struct pm_class_stats *row)
{
    pm_text_column(text, row->block_size, 7);
    pm_text_column(text, row->pools, 9);
    pm_text_column(text, row->blocks_in_use, 12);
    pm_text_column(text, row->blocks_magazine, 10);
    pm_text_column(text, row->blocks_free, 10);
    pm_text_column(text, row->refilled, 14);
    pm_text_column(text, row->flushed, 14);
    pm_text_column(text, row->flushed_remote, 12);
    pm_text_string(text, "\n");
}

static void
print_totals(struct pm_text *text, const struct pm_stats *stats)
{
    uint64_t refilled = 0, flushed = 0, remote = 0, refills = 0, flushes = 0;
    for (unsigned i = 0; i < PM_CLASS_COUNT; i++) {
        refilled += stats->classes[i].refilled;
        flushed += stats->classes[i].flushed;
        remote += stats->classes[i].flushed_remote;
        refills += stats->classes[i].refills;
        flushes += stats->classes[i].flushes;
    }
    line(text, "in blocks in use", stats->bytes_in_use, " bytes");
    line(text, "in magazines", stats->bytes_magazine, " bytes");
    line(text, "in free blocks of pools", stats->bytes_free, " bytes");
    line(text, "pools in use", stats->pools, " of 4096 bytes");
    line(text, "pools free", stats->pools_free, "");
    line(text, "pools free, memory held", stats->pools_free_dirty, "");
    line(text, "arenas in use", stats->arenas, " of 262144 bytes");
    line(text, "arenas in use at most", stats->arenas_peak, "");
    line(text, "arenas free", stats->arenas_free, "");
    line(text, "arenas free, memory held", stats->arenas_free_dirty, "");
    line(text, "region reserved", stats->region_bytes, " bytes");
    line(text, "region made accessible", stats->committed_bytes, " bytes");
    line(text, "descriptors, heaps, magazines", stats->metadata_bytes, " bytes");
    line(text, "heaps", stats->heaps, "");
    line(text, "heaps parked", stats->heaps_parked, "");
    line(text, "blocks refilled", refilled, "");
    line(text, "blocks flushed", flushed, "");
    line(text, "blocks flushed to other heaps", remote, "");
    line(text, "refills", refills, "");
    line(text, "flushes", flushes, "");
    line(text, "to the system allocator", stats->system_allocations, " requests");
    line(text, "to the system allocator", stats->system_bytes, " bytes");
    line(text, "its blocks in magazines", stats->system_magazine_bytes, " bytes");
}

PM_EXPORT void
pm_stats_print(int fd)
{
    struct pm_stats stats;
    struct pm_text text;
    pm_stats_get(&stats);
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc " PM_VERSION_STRING " statistics of process ");
    pm_text_number(&text, (uint64_t)pm_os_pid());
    pm_text_string(&text, "\n");
    print_totals(&text, &stats);
    pm_text_string(&text, "  block    pools      in use  magazine      free      refilled       flushed      remote\n");
    for (unsigned i = 0; i < PM_CLASS_COUNT; i++)
        if (stats.classes[i].pools != 0 || stats.classes[i].refilled != 0)
            print_class(&text, &stats.classes[i]);
    pm_text_flush(&text);
}

void
pm_stats_print_totals(int fd)
{
    struct pm_totals totals;
    struct pm_text text;
    pm_stats_totals(&totals);
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc " PM_VERSION_STRING ", pools and system allocator together:\n");
    line(&text, "obtained from the kernel", totals.obtained_bytes, " bytes");
    line(&text, "in blocks in use", totals.used_bytes, " bytes");
    line(&text, "of these in pools", totals.pool_used_bytes, " bytes");
    line(&text, "free", totals.free_bytes, " bytes");
    line(&text, "of these in pools", totals.pool_free_bytes, " bytes");
    line(&text, "blocks with mappings of theirs", totals.mapped_blocks, "");
    line(&text, "in such blocks", totals.mapped_bytes, " bytes");
    pm_text_flush(&text);
}

int
pm_stats_print_xml(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    struct pm_stats stats;
    struct pm_totals totals;
    pm_stats_get(&stats);
    pm_stats_totals(&totals);
    /* The outer element and its totals are glibc's, so that its readers find what they look for. */
    fprintf(stream, "<malloc version=\"1\">\n<pools version=\"" PM_VERSION_STRING "\" arenas=\"%zu\">\n", stats.arenas);
    for (unsigned i = 0; i < PM_CLASS_COUNT; i++) {
        const struct pm_class_stats *row = &stats.classes[i];
        if (row->pools != 0)
            fprintf(stream, "<class size=\"%zu\" pools=\"%zu\" used=\"%zu\" magazine=\"%zu\" free=\"%zu\"/>\n",
                    row->block_size, row->pools, row->blocks_in_use, row->blocks_magazine, row->blocks_free);
    }
    fprintf(stream, "</pools>\n<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n", totals.free_bytes);
    fprintf(stream, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", totals.mapped_blocks, totals.mapped_bytes);
    fprintf(stream, "<system type=\"current\" size=\"%zu\"/>\n", totals.obtained_bytes);
    fprintf(stream, "<system type=\"used\" size=\"%zu\"/>\n</malloc>\n", totals.used_bytes);
    return 0;
}

/* ---- At exit ---- */

/* `pattern` with %p replaced by the process number. */
static void
expand(char *path, size_t size, const char *pattern)
{
    size_t length = 0;
    for (; *pattern != '\0' && length + 21 < size; pattern++) {
        if (pattern[0] != '%' || pattern[1] != 'p') {
            path[length++] = *pattern;
            continue;
        }
        char digits[20];
        size_t count = 0;
        for (unsigned long pid = (unsigned long)pm_os_pid(); pid != 0; pid /= 10)
            digits[count++] = (char)('0' + pid % 10);
        while (count != 0)
            path[length++] = digits[--count];
        pattern++;
    }
    path[length] = '\0';
}

void
pm_stats_at_exit(void)
{
    if (!pm_options.stats)
        return;
    char path[PM_OPTION_PATH_MAX + 32];
    expand(path, sizeof path, pm_options.stats_file);
    int fd = path[0] != '\0' ? pm_os_create(path) : 2;
    if (fd < 0) {
        struct pm_text text;
        pm_text_start(&text, 2);
        pm_text_string(&text, "poolmalloc: cannot write statistics to ");
        pm_text_string(&text, path);
        pm_text_string(&text, "\n");
        pm_text_flush(&text);
        return;
    }
    pm_stats_print(fd);
    if (fd != 2)
        pm_os_close(fd);
}
