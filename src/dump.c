/* SPDX-License-Identifier: MIT */
#include "dump.h"

#include "geometry.h"

/* More rows than these are put together: arenas by the 16 MiB they lie in, heaps by their state. */
#define ARENA_ROWS 24u
#define HEAP_ROWS 12u

static void
heading(struct pm_text *text, const char *line)
{
    pm_text_string(text, "\n");
    pm_text_string(text, line);
    pm_text_string(text, "\n");
}

/* At least one space before it, also when it is wider than its column. */
static void
column(struct pm_text *text, uint64_t number, unsigned width)
{
    pm_text_string(text, " ");
    pm_text_column(text, number, width - 1);
}

static void
address(struct pm_text *text, uintptr_t value)
{
    pm_text_string(text, "  ");
    pm_text_hex(text, value);
}

/* ---- Rows ---- */

static void
put_class(struct pm_text *text, const struct pm_class_row *row, bool exact)
{
    column(text, row->block_bytes, 7);
    column(text, row->pools, 8);
    column(text, row->blocks_in_use, 11);
    column(text, row->blocks_magazine, 10);
    column(text, row->blocks_free, 9);
    column(text, row->counts.refilled, 13);
    column(text, row->counts.flushed, 13);
    column(text, row->counts.flushed_remote, 11);
    if (exact) {
        column(text, pm_snapshot_rounding(row), 18);
    } else {
        column(text, row->counts.refills, 9);
        column(text, row->counts.flushes, 9);
    }
    pm_text_string(text, "\n");
}

/* In the checking mode each call moves one block: the columns then count calls, and what was asked for is known. */
static void
put_classes(struct pm_text *text, const struct pm_snapshot *snapshot)
{
    bool exact = snapshot->check != 0;
    heading(text, exact ? "size classes, in blocks, since the start: every call, and the bytes lost to rounding"
                        : "size classes, in blocks; since the start: blocks that moved to and from magazines");
    pm_text_string(text, exact ? "  bytes   pools     in use magazines     free    allocated        freed     remote"
                                 "    bytes rounded\n"
                               : "  bytes   pools     in use magazines     free     refilled      flushed     remote"
                                 "  refills  flushes\n");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_row *row = &snapshot->classes[class];
        if (row->pools != 0 || row->counts.refilled != 0)
            put_class(text, row, exact);
    }
}

static void
put_arena(struct pm_text *text, const struct pm_arena_row *row, size_t arenas, const size_t pools[PM_POOL_STATES],
          size_t free_bytes)
{
    address(text, row->address);
    column(text, arenas, 8);
    column(text, pools[PM_POOL_ASSIGNED], 12);
    column(text, pools[PM_POOL_RESERVED], 10);
    column(text, pools[PM_POOL_FREE_DIRTY], 12);
    column(text, pools[PM_POOL_FREE], 12);
    column(text, pools[PM_POOL_DESCRIPTORS] + pools[PM_POOL_MAPS], 9);
    column(text, free_bytes, 19);
    pm_text_string(text, "\n");
}

/* The arenas of a row follow each other: one, or all that lie in one chunk. */
static void
put_arenas(struct pm_text *text, const struct pm_snapshot *snapshot)
{
    bool each = snapshot->arenas <= ARENA_ROWS;
    if (snapshot->arenas == 0)
        return;
    heading(text, each ? "arenas of 262144 bytes, in pools of 4096 bytes"
                       : "arenas of 262144 bytes, in pools of 4096 bytes, by the 16 MiB they lie in");
    pm_text_string(text, "  address          arenas        used  reserved  free, kept  given back   tables"
                         "   free block bytes\n");
    size_t i = 0;
    while (i < snapshot->arenas) {
        const struct pm_arena_row *first = &snapshot->arena_rows[i];
        size_t arenas = 0, pools[PM_POOL_STATES] = {0}, free_bytes = 0;
        do {
            const struct pm_arena_row *row = &snapshot->arena_rows[i++];
            for (unsigned state = 0; state < PM_POOL_STATES; state++)
                pools[state] += row->pools[state];
            free_bytes += row->free_bytes;
            arenas++;
        } while (!each && i < snapshot->arenas &&
                 snapshot->arena_rows[i].address >> PM_CHUNK_SHIFT == first->address >> PM_CHUNK_SHIFT);
        put_arena(text, first, arenas, pools, free_bytes);
    }
}

static void
put_heap(struct pm_text *text, const char *name, const struct pm_heap_row *row, size_t heaps)
{
    pm_text_string(text, "  ");
    pm_text_label(text, name, 8);
    column(text, heaps, 6);
    column(text, row->arenas, 8);
    column(text, row->pools, 9);
    column(text, row->magazine_blocks, 11);
    column(text, row->magazine_bytes, 11);
    column(text, row->system_magazine_bytes, 12);
    column(text, row->system_allocations, 13);
    column(text, row->system_bytes, 18);
    pm_text_string(text, "\n");
}

static void
add_heap(struct pm_heap_row *to, const struct pm_heap_row *row)
{
    to->arenas += row->arenas;
    to->pools += row->pools;
    to->magazine_blocks += row->magazine_blocks;
    to->magazine_bytes += row->magazine_bytes;
    to->system_magazine_bytes += row->system_magazine_bytes;
    to->system_allocations += row->system_allocations;
    to->system_bytes += row->system_bytes;
}

static void
put_heaps(struct pm_text *text, const struct pm_snapshot *snapshot)
{
    struct pm_heap_row sums[2] = {0};
    size_t counts[2] = {0};
    if (snapshot->heaps == 0)
        return;
    heading(text, "heaps of threads: what waits in magazines (large: above 512 bytes), what was passed on");
    pm_text_string(text, "  state     heaps  arenas    pools     blocks      bytes large bytes     requests"
                         "   bytes requested\n");
    for (size_t i = 0; i < snapshot->heaps; i++) {
        const struct pm_heap_row *row = &snapshot->heap_rows[i];
        if (snapshot->heaps <= HEAP_ROWS)
            put_heap(text, row->parked ? "parked" : "owned", row, 1);
        add_heap(&sums[row->parked], row);
        counts[row->parked]++;
    }
    for (unsigned parked = 0; parked < 2 && snapshot->heaps > HEAP_ROWS; parked++)
        if (counts[parked] != 0)
            put_heap(text, parked ? "parked" : "owned", &sums[parked], counts[parked]);
}

/* ---- Totals ---- */

static void
put_totals(struct pm_text *text, const struct pm_view *view)
{
    const struct pm_snapshot *snapshot = &view->snapshot;
    const struct pm_sums *sums = &view->sums;
    heading(text, "totals");
    pm_text_line(text, "in live blocks", sums->live_bytes, " bytes");
    pm_text_line(text, "in magazines", sums->magazine_bytes, " bytes");
    pm_text_line(text, "in free blocks of used pools", sums->free_bytes, " bytes");
    pm_text_line(text, "at the ends of used pools", sums->remainder_bytes, " bytes");
    if (snapshot->check)
        pm_text_line(text, "lost to rounding so far", sums->rounding_bytes, " bytes");
    pm_text_line(text, "pools used", sums->pools[PM_POOL_ASSIGNED], "");
    pm_text_line(text, "pools reserved for a class", sums->pools[PM_POOL_RESERVED], "");
    pm_text_line(text, "pools free, memory kept", sums->pools[PM_POOL_FREE_DIRTY], "");
    pm_text_line(text, "pools free, given back", sums->pools[PM_POOL_FREE], "");
    pm_text_line(text, "arenas in use", snapshot->arenas, "");
    pm_text_line(text, "arenas in use at most", snapshot->counts.arenas_peak, "");
    pm_text_line(text, "arenas returned to the region", snapshot->counts.arenas_free, "");
    pm_text_line(text, "of these with memory kept", snapshot->free_arenas_dirty, "");
    pm_text_line(text, "region reserved", snapshot->counts.reserved_bytes, " bytes of address space");
    pm_text_line(text, "region made accessible", snapshot->counts.committed_bytes, " bytes of address space");
    pm_text_line(text, "descriptors and page map", sums->arena_table_bytes, " bytes");
    pm_text_line(text, "heaps and their magazines", sums->heap_table_bytes, " bytes");
    pm_text_line(text, "heaps of threads", snapshot->heaps, "");
    pm_text_line(text, "heaps parked", snapshot->heaps_parked, "");
    pm_text_line(text, "blocks refilled", sums->counts.refilled, "");
    pm_text_line(text, "blocks flushed", sums->counts.flushed, "");
    pm_text_line(text, "blocks freed by other threads", sums->counts.flushed_remote, "");
    pm_text_line(text, "refills", sums->counts.refills, " batches");
    pm_text_line(text, "flushes", sums->counts.flushes, " batches");
    pm_text_line(text, "to the system allocator", sums->system_allocations, " requests");
    pm_text_line(text, "to the system allocator", sums->system_bytes, " bytes");
    pm_text_line(text, "its blocks in magazines", sums->system_magazine_bytes, " bytes");
    if (view->system_known) {
        pm_text_line(text, "system allocator obtained", view->system.obtained_bytes, " bytes");
        pm_text_line(text, "system allocator has free", view->system.free_bytes, " bytes");
    }
}

/* Bytes, and their share of `total` in per cent unless that is 0. */
static void
part(struct pm_text *text, const char *label, size_t bytes, size_t total, const char *meaning)
{
    size_t share = total != 0 ? (size_t)((double)bytes / (double)total * 1000 + 0.5) : 0;
    bool ends = total == 0 && *meaning == '\0';
    pm_text_string(text, "  ");
    pm_text_label(text, label, 26);
    column(text, bytes, 13);
    if (total != 0) {
        column(text, share / 10, 5);
        pm_text_string(text, ".");
        pm_text_number(text, share % 10);
    } else if (!ends) {
        pm_text_label(text, "", 7);
    }
    pm_text_string(text, ends ? "" : "  ");
    pm_text_string(text, meaning);
    pm_text_string(text, "\n");
}

static void
put_account(struct pm_text *text, const struct pm_view *view)
{
    const struct pm_account *account = &view->account;
    size_t total = account->resident_bytes;
    heading(text, "resident memory, as the kernel counts it, in bytes and per cent; what it is, and what reduces it");
    if (!account->known) {
        pm_text_string(text, "  not known: /proc cannot be read\n");
        return;
    }
    for (unsigned i = 0; i < PM_PARTS; i++)
        part(text, pm_part_names[i].label, account->parts[i], total, pm_part_meaning(i, view->system_known));
    part(text, "resident together", total, total, "the sum of the lines above");
    part(text, "resident at most", account->peak_bytes, 0, "since the process started");
    part(text, "swapped out", account->swapped_bytes, 0, "");
}

void
pm_dump_text(struct pm_text *text, const struct pm_view *view)
{
    pm_text_string(text, "poolmalloc ");
    pm_text_string(text, view->snapshot.version);
    pm_text_string(text, " statistics of process ");
    pm_text_number(text, (uint64_t)view->pid);
    pm_text_string(text, "\n");
    if (view->snapshot.incomplete)
        pm_text_string(text, "incomplete: the heap grew faster than it could be read\n");
    put_classes(text, &view->snapshot);
    put_arenas(text, &view->snapshot);
    put_heaps(text, &view->snapshot);
    put_totals(text, view);
    put_account(text, view);
}
