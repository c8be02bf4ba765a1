/* SPDX-License-Identifier: MIT
 *
 * stats.h: what is printed. The table, the totals and the XML hold the numbers of pm_stats_get; the dump at exit goes
 * where the options say.
 */
#include "stats.h"

#include "options.h"
#include "poolmalloc.h"
#include "support/check.h"
#include "system.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[CAPTURE_SIZE];
static struct pm_stats stats;

static void
allocate(void)
{
    static const size_t sizes[] = {1, 24, 100, 512};
    for (size_t i = 0; i < 400; i++) {
        void *block = pm_malloc(sizes[i % 4]);
        if (i % 3 == 0)
            pm_free(block);
    }
    pm_free(pm_malloc(900));
    pm_stats_get(&stats);
}

static void
print(void *unused)
{
    (void)unused;
    pm_stats_print(STDERR_FILENO);
}

/* A line "  label     number unit" of the text. */
static void
require_line(const char *label, size_t number, const char *unit)
{
    char line[128];
    snprintf(line, sizeof line, "\n  %-30s%16zu%s\n", label, number, unit);
    REQUIRE(strstr(text, line) != NULL, "there is no line \"%s\" in: %s", line + 1, text);
}

Test(stats_text, the_table_s_totals, .init = allocate)
{
    char first[100];
    size_t refilled = 0, flushed = 0, refills = 0;
    capture_stderr(print, NULL, text);
    snprintf(first, sizeof first, "poolmalloc " PM_VERSION_STRING " statistics of process %d\n", getpid());
    REQUIRE(strncmp(text, first, strlen(first)) == 0, "it begins otherwise: %.80s", text);
    for (size_t i = 0; i < PM_CLASS_COUNT; i++) {
        refilled += stats.classes[i].refilled;
        flushed += stats.classes[i].flushed;
        refills += stats.classes[i].refills;
    }
    require_line("in live blocks", stats.bytes_in_use, " bytes");
    require_line("in magazines", stats.bytes_magazine, " bytes");
    require_line("in free blocks of used pools", stats.bytes_free, " bytes");
    require_line("pools used", stats.pools, "");
    require_line("pools reserved for a class", stats.pools_reserved, "");
    require_line("pools free, memory kept", stats.pools_free_dirty, "");
    require_line("pools free, given back", stats.pools_free - stats.pools_free_dirty, "");
    require_line("arenas in use", stats.arenas, "");
    require_line("arenas in use at most", stats.arenas_peak, "");
    require_line("arenas returned to the region", stats.arenas_free, "");
    require_line("of these with memory kept", stats.arenas_free_dirty, "");
    require_line("region reserved", stats.region_bytes, " bytes of address space");
    require_line("region made accessible", stats.committed_bytes, " bytes of address space");
    require_line("descriptors and page map", stats.arenas * (4096 + 64), " bytes");
    require_line("heaps and their magazines", stats.metadata_bytes - stats.arenas * (4096 + 64), " bytes");
    require_line("heaps of threads", stats.heaps, "");
    require_line("heaps parked", stats.heaps_parked, "");
    require_line("blocks refilled", refilled, "");
    require_line("blocks flushed", flushed, "");
    require_line("refills", refills, " batches");
    require_line("to the system allocator", stats.system_allocations, " requests");
    require_line("to the system allocator", stats.system_bytes, " bytes");
    require_line("its blocks in magazines", stats.system_magazine_bytes, " bytes");
}

/* One row for each class that was ever used, in columns under their names. */
Test(stats_text, the_table_s_rows, .init = allocate)
{
    capture_stderr(print, NULL, text);
    const char *row =
        strstr(text, "  bytes   pools     in use magazines     free     refilled      flushed     remote  refills  flushes\n");
    REQUIRE(row != NULL, "no head in: %s", text);
    row = strchr(row, '\n') + 1;
    for (size_t i = 0; i < PM_CLASS_COUNT; i++) {
        const struct pm_class_stats *class = &stats.classes[i];
        char expected[128];
        if (class->refilled == 0)
            continue;
        int length = snprintf(expected, sizeof expected, "%7zu%8zu%11zu%10zu%9zu%13zu%13zu%11zu%9zu%9zu\n",
                              class->block_size, class->pools, class->blocks_in_use, class->blocks_magazine, class->blocks_free,
                              (size_t)class->refilled, (size_t)class->flushed, (size_t)class->flushed_remote,
                              (size_t)class->refills, (size_t)class->flushes);
        REQUIRE(strncmp(row, expected, (size_t)length) == 0, "\"%.100s\" instead of \"%s\"", row, expected);
        row += length;
    }
    REQUIRE(*row == '\n', "more rows: %s", row);
}

static void
print_totals(void *unused)
{
    (void)unused;
    pm_stats_print_totals(STDERR_FILENO);
}

Test(stats_text, totals, .init = allocate)
{
    struct pm_totals totals;
    pm_stats_totals(&totals);
    capture_stderr(print_totals, NULL, text);
    require_line("obtained from the kernel", totals.obtained_bytes, " bytes");
    require_line("in blocks in use", totals.used_bytes, " bytes");
    require_line("free", totals.free_bytes, " bytes");
    require_line("of these in pools", totals.pool_used_bytes, " bytes");
    require_line("of these in pools", totals.pool_free_bytes, " bytes");
    require_line("blocks with mappings of theirs", totals.mapped_blocks, "");
    require_line("in such blocks", totals.mapped_bytes, " bytes");
}

Test(stats_text, xml, .init = allocate)
{
    static char expected[CAPTURE_SIZE];
    struct pm_totals totals;
    pm_system.info = NULL; /* which changes while the stream's buffer is allocated */
    FILE *stream = fmemopen(text, sizeof text, "w");
    REQUIRE(stream != NULL && pm_stats_print_xml(0, stream) == 0, "malloc_info");
    fclose(stream);
    pm_stats_totals(&totals);
    size_t used = (size_t)snprintf(expected, sizeof expected,
                                   "<malloc version=\"1\">\n<pools version=\"" PM_VERSION_STRING "\" arenas=\"%zu\">\n",
                                   stats.arenas);
    for (size_t i = 0; i < PM_CLASS_COUNT; i++) {
        const struct pm_class_stats *row = &stats.classes[i];
        if (row->pools != 0)
            used += (size_t)snprintf(expected + used, sizeof expected - used,
                                     "<class size=\"%zu\" pools=\"%zu\" used=\"%zu\" magazine=\"%zu\" free=\"%zu\"/>\n",
                                     row->block_size, row->pools, row->blocks_in_use, row->blocks_magazine,
                                     row->blocks_free);
    }
    snprintf(expected + used, sizeof expected - used,
             "</pools>\n<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
             "<total type=\"mmap\" count=\"0\" size=\"0\"/>\n"
             "<system type=\"current\" size=\"%zu\"/>\n<system type=\"used\" size=\"%zu\"/>\n</malloc>\n",
             totals.free_bytes, totals.obtained_bytes, totals.used_bytes);
    REQUIRE(strcmp(text, expected) == 0, "%s instead of %s", text, expected);
}

Test(stats_text, xml_takes_no_options)
{
    errno = 0;
    REQUIRE(pm_stats_print_xml(1, stderr) == -1 && errno == EINVAL, "errno %d", errno);
}

/* ---- At exit ---- */

/* What does not change while a dump is printed: all but the account of the resident memory. */
static char *
without_account(char *dump)
{
    char *account = strstr(dump, "  system allocator obtained");
    account = account != NULL ? account : strstr(dump, "\nresident memory, as the kernel counts it");
    REQUIRE(account != NULL, "no account in %s", dump);
    *account = '\0';
    return dump;
}

static void
at_exit(void *unused)
{
    (void)unused;
    pm_stats_at_exit();
}

Test(stats_text, nothing_is_printed_unasked)
{
    strcpy(pm_options.stats_file, "/tmp/unit_stats_unasked");
    capture_stderr(at_exit, NULL, text);
    REQUIRE(text[0] == '\0', "wrote: %s", text);
    REQUIRE(access(pm_options.stats_file, F_OK) != 0, "wrote a file");
}

Test(stats_text, to_stderr_without_a_file)
{
    static char expected[CAPTURE_SIZE];
    pm_options.stats = 1;
    capture_stderr(print, NULL, expected);
    capture_stderr(at_exit, NULL, text);
    pm_options.stats = 0;
    REQUIRE(strcmp(without_account(text), without_account(expected)) == 0, "%s instead of %s", text, expected);
}

Test(stats_text, to_a_file_named_after_the_process)
{
    static char expected[CAPTURE_SIZE], found[CAPTURE_SIZE];
    char path[100];
    pm_options.stats = 1;
    strcpy(pm_options.stats_file, "/tmp/unit_stats_%p.%p%q%");
    snprintf(path, sizeof path, "/tmp/unit_stats_%d.%d%%q%%", getpid(), getpid());
    capture_stderr(at_exit, NULL, text);
    capture_stderr(print, NULL, expected);
    pm_options.stats = 0;
    REQUIRE(text[0] == '\0', "wrote to stderr: %s", text);
    FILE *file = fopen(path, "r");
    REQUIRE(file != NULL, "there is no %s", path);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    unlink(path);
    REQUIRE(strcmp(without_account(found), without_account(expected)) == 0, "%s instead of %s", found, expected);
}

Test(stats_text, a_file_that_cannot_be_written)
{
    pm_options.stats = 1;
    strcpy(pm_options.stats_file, "/none/such/file");
    capture_stderr(at_exit, NULL, text);
    pm_options.stats = 0;
    REQUIRE(strcmp(text, "poolmalloc: cannot write statistics to /none/such/file\n") == 0, "wrote: %s", text);
}

/* The longest pattern there can be, all of it process numbers: the name is cut, nothing is overwritten. */
Test(stats_text, a_name_that_grows_too_long)
{
    pm_options.stats = 1;
    for (size_t i = 0; i + 2 < PM_OPTION_PATH_MAX; i += 2)
        memcpy(pm_options.stats_file + i, "%p", 3);
    capture_stderr(at_exit, NULL, text);
    pm_options.stats = 0;
    size_t length = strlen(text);
    REQUIRE(length > 1000 && length < PM_OPTION_PATH_MAX + 100, "%zu characters", length);
    REQUIRE(strncmp(text, "poolmalloc: cannot write statistics to ", 39) == 0, "wrote: %s", text);
}
