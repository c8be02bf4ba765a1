/* SPDX-License-Identifier: MIT
 *
 * The end of a program that misuses the heap: one line on stderr that names the call, the pointer and what is wrong
 * with it, then SIGABRT. Layer 1: uses text.h and os.h. Call it with no lock held: a handler of SIGABRT may allocate.
 */
#ifndef PM_REPORT_H
#define PM_REPORT_H

#include <stddef.h>

enum pm_fault {
    PM_FAULT_NONE,
    PM_FAULT_FREE,       /* the block is already free */
    PM_FAULT_INSIDE,     /* not a block's first byte */
    PM_FAULT_REMAINDER,  /* behind the last block of a pool whose size does not divide 4096 */
    PM_FAULT_POOL_FREE,  /* no block there: the pool belongs to no class, or holds the allocator's own tables */
    PM_FAULT_STACK,
    PM_FAULT_MISALIGNED, /* outside the region, and at no address an allocator would return */
};

/* Where a fault is found: in the call that made it, or later, when a batch of blocks returns to its pools. */
enum pm_found { PM_FOUND_AT_ONCE, PM_FOUND_LATER };

/* `block` and `block_size` describe the block the pointer lies in, for PM_FAULT_INSIDE. */
_Noreturn void pm_report_fault(const char *call, const void *pointer, enum pm_fault fault, enum pm_found found,
                               const void *block, size_t block_size);

/* A broken invariant of poolmalloc's own. */
_Noreturn void pm_report_bug(const char *what);

#endif
