/* SPDX-License-Identifier: MIT */
#include "report.h"

#include "os.h"
#include "text.h"

static const char *const fault_texts[] = {
    [PM_FAULT_FREE] = "the block is already free (double free)",
    [PM_FAULT_REMAINDER] = "points behind the last block of its pool",
    [PM_FAULT_POOL_FREE] = "no block is in use there, its pool is free (double free or dangling pointer)",
    [PM_FAULT_STACK] = "an address on a stack",
    [PM_FAULT_MISALIGNED] = "not aligned as a block is",
};

_Noreturn void
pm_report_fault(const char *call, const void *pointer, enum pm_fault fault, enum pm_found found, const void *block,
                size_t block_size)
{
    struct pm_text text;
    pm_text_start(&text, 2);
    pm_text_string(&text, "poolmalloc: ");
    pm_text_string(&text, call);
    pm_text_string(&text, "(");
    pm_text_pointer(&text, pointer);
    pm_text_string(&text, "): ");
    if (fault == PM_FAULT_INSIDE) {
        pm_text_string(&text, "points ");
        pm_text_number(&text, (uint64_t)((const char *)pointer - (const char *)block));
        pm_text_string(&text, " bytes into the ");
        pm_text_number(&text, block_size);
        pm_text_string(&text, "-byte block at ");
        pm_text_pointer(&text, block);
    } else {
        pm_text_string(&text, fault_texts[fault]);
    }
    if (found == PM_FOUND_LATER)
        pm_text_string(&text, ", found when it returned to its pool");
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
    pm_os_abort();
}

_Noreturn void
pm_report_bug(const char *what)
{
    struct pm_text text;
    pm_text_start(&text, 2);
    pm_text_string(&text, "poolmalloc: internal error: ");
    pm_text_string(&text, what);
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
    pm_os_abort();
}
