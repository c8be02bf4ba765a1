/* SPDX-License-Identifier: MIT
 *
 * report.h: the exact line of every fault, found at once and later, and SIGABRT after it.
 */
#include "report.h"

#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>

struct report {
    const char *call;
    enum pm_fault fault;
    enum pm_found found;
    uintptr_t pointer, block;
    size_t block_size;
};

static void
make(void *argument)
{
    const struct report *report = argument;
    pm_report_fault(report->call, (void *)report->pointer, report->fault, report->found, (void *)report->block,
                    report->block_size);
}

/* The same fault found at once, then later. */
static void
require_report(struct report report, const char *what)
{
    char line[512];
    snprintf(line, sizeof line, "poolmalloc: %s(0x%lx): %s\n", report.call, (unsigned long)report.pointer, what);
    report.found = PM_FOUND_AT_ONCE;
    require_abort(make, &report, line);
    snprintf(line, sizeof line, "poolmalloc: %s(0x%lx): %s, found when it returned to its pool\n", report.call,
             (unsigned long)report.pointer, what);
    report.found = PM_FOUND_LATER;
    require_abort(make, &report, line);
}

Test(report, faults)
{
    struct report report = {.call = "free", .pointer = 0x7f00deadbee0};
    report.fault = PM_FAULT_FREE;
    require_report(report, "the block is already free (double free)");
    report.fault = PM_FAULT_REMAINDER;
    require_report(report, "points behind the last block of its pool");
    report.fault = PM_FAULT_POOL_FREE;
    require_report(report, "no block is in use there, its pool is free (double free or dangling pointer)");
    report.fault = PM_FAULT_STACK;
    require_report(report, "an address on a stack");
    report.fault = PM_FAULT_MISALIGNED;
    require_report(report, "not aligned as a block is");
}

Test(report, inside_a_block)
{
    struct report report = {.call = "realloc", .fault = PM_FAULT_INSIDE, .pointer = 0x7f0000001013,
                            .block = 0x7f0000001000, .block_size = 48};
    require_report(report, "points 19 bytes into the 48-byte block at 0x7f0000001000");
}

Test(report, the_call_is_named)
{
    struct report report = {.call = "malloc_usable_size", .fault = PM_FAULT_FREE, .pointer = 16};
    require_report(report, "the block is already free (double free)");
}

static void
make_bug(void *what)
{
    pm_report_bug(what);
}

Test(report, bugs)
{
    require_abort(make_bug, "something that cannot be", "poolmalloc: internal error: something that cannot be\n");
}
