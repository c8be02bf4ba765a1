/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "stats.h"

#include <errno.h>
#include <string.h>

#include "dump.h"
#include "os.h"
#include "poolmalloc.h"
#include "process.h"
#include "system.h"
#include "text.h"

/* ---- Gathering ---- */

/* The view of this process, NULL when there is no memory for it. Without an account it costs a system call for each
 * arena, with one as many again and the kernel's walk over the mappings. */
static struct pm_view *
view_self(bool account, bool ask_system)
{
    struct pm_process_reader process;
    struct pm_system_info info = {0};
    pm_reader_open(&process, pm_os_pid(), account);
    struct pm_view *view = pm_view_create(&process.reader, (uintptr_t)&pm_root, NULL);
    if (view != NULL)
        pm_view_take(view, &process.reader, (uintptr_t)&pm_root);
    pm_reader_close(&process);
    ask_system = ask_system && pm_system.info != NULL;
    if (view != NULL && account) {
        if (ask_system)
            pm_system.info(&info);
        pm_view_account(view, pm_os_pid(), ask_system ? &info : NULL);
    }
    return view;
}

static void
copy_class(struct pm_class_stats *to, const struct pm_class_row *from)
{
    to->pools = from->pools;
    to->blocks_in_use = from->blocks_in_use;
    to->blocks_magazine = from->blocks_magazine;
    to->blocks_free = from->blocks_free;
    to->refilled = from->counts.refilled;
    to->flushed = from->counts.flushed;
    to->flushed_remote = from->counts.flushed_remote;
    to->refills = from->counts.refills;
    to->flushes = from->counts.flushes;
}

static void
copy_view(struct pm_stats *stats, const struct pm_view *view)
{
    const struct pm_snapshot *snapshot = &view->snapshot;
    const struct pm_sums *sums = &view->sums;
    stats->region_bytes = snapshot->counts.reserved_bytes;
    stats->committed_bytes = snapshot->counts.committed_bytes;
    stats->arenas = snapshot->arenas;
    stats->arenas_peak = snapshot->counts.arenas_peak;
    stats->arenas_free = snapshot->counts.arenas_free;
    stats->arenas_free_dirty = snapshot->free_arenas_dirty;
    stats->pools = sums->pools[PM_POOL_ASSIGNED];
    stats->pools_free = sums->pools[PM_POOL_FREE] + sums->pools[PM_POOL_FREE_DIRTY];
    stats->pools_free_dirty = sums->pools[PM_POOL_FREE_DIRTY];
    stats->pools_reserved = sums->pools[PM_POOL_RESERVED];
    stats->pools_maps = sums->pools[PM_POOL_MAPS];
    stats->bytes_in_use = sums->live_bytes;
    stats->bytes_magazine = sums->magazine_bytes;
    stats->bytes_free = sums->free_bytes;
    stats->heaps = snapshot->heaps;
    stats->heaps_parked = snapshot->heaps_parked;
    stats->metadata_bytes = sums->arena_table_bytes + sums->heap_table_bytes;
    stats->system_allocations = sums->system_allocations;
    stats->system_bytes = sums->system_bytes;
    stats->system_magazine_blocks = sums->system_magazine_blocks;
    stats->system_magazine_bytes = sums->system_magazine_bytes;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        copy_class(&stats->classes[class - 1], &snapshot->classes[class]);
}

static void
gather(struct pm_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        stats->classes[class - 1].block_size = pm_class_size(class);
    pm_process_start(); /* starts the library if nothing else has */
    struct pm_view *view = view_self(false, false);
    if (view != NULL) {
        copy_view(stats, view);
        pm_view_destroy(view);
    }
}

/* The caller's structure may be shorter or longer than this library's. */
PM_EXPORT size_t
pm_stats_get_sized(struct pm_stats *stats, size_t size)
{
    struct pm_stats all;
    gather(&all);
    if (size > sizeof all)
        memset((char *)stats + sizeof all, 0, size - sizeof all);
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
    return sizeof all;
}

void
pm_stats_totals(struct pm_totals *totals)
{
    struct pm_stats stats;
    struct pm_system_info system = {0};
    gather(&stats);
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

/* Also what the signal handler calls: nothing here takes a lock, but the system allocator when it is asked. */
void
pm_stats_dump(int fd, bool json, bool ask_system)
{
    struct pm_text text;
    struct pm_view *view = view_self(true, ask_system);
    pm_text_start(&text, fd);
    if (view == NULL)
        pm_text_string(&text, "poolmalloc: no memory to print statistics\n");
    else if (json)
        pm_dump_json(&text, view);
    else
        pm_dump_text(&text, view);
    pm_text_flush(&text);
    if (view != NULL)
        pm_view_destroy(view);
}

PM_EXPORT void
pm_stats_print(int fd)
{
    pm_process_start();
    pm_stats_dump(fd, false, true);
}

PM_EXPORT void
pm_stats_print_json(int fd)
{
    pm_process_start();
    pm_stats_dump(fd, true, true);
}

void
pm_stats_print_totals(int fd)
{
    struct pm_totals totals;
    struct pm_text text;
    pm_stats_totals(&totals);
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc " PM_VERSION_STRING ", pools and system allocator together:\n");
    pm_text_line(&text, "obtained from the kernel", totals.obtained_bytes, " bytes");
    pm_text_line(&text, "in blocks in use", totals.used_bytes, " bytes");
    pm_text_line(&text, "of these in pools", totals.pool_used_bytes, " bytes");
    pm_text_line(&text, "free", totals.free_bytes, " bytes");
    pm_text_line(&text, "of these in pools", totals.pool_free_bytes, " bytes");
    pm_text_line(&text, "blocks with mappings of theirs", totals.mapped_blocks, "");
    pm_text_line(&text, "in such blocks", totals.mapped_bytes, " bytes");
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
    gather(&stats);
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
