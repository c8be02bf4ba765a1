/* SPDX-License-Identifier: MIT
 *
 * For programs that use the heap at every stage of a process's life. A stage takes blocks, checks and gives back what
 * the stage before it left, and writes its name to stdout; the driver compares the order.
 */
#ifndef TEST_STAGE_H
#define TEST_STAGE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Safe from any number of threads, one after the other. */
void stage(const char *name);

/* Fails unless malloc, calloc, strdup and realloc are poolmalloc's. */
void require_pools_in_use(void);

#ifdef __cplusplus
}
#endif

#endif
