/* SPDX-License-Identifier: MIT
 *
 * What the unit tests have in common: what a function writes to stderr, how a function ends the process, what the
 * kernel says of a page, and a region of a test's own.
 */
#ifndef TEST_UNIT_H
#define TEST_UNIT_H

#include "pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pm_heap;

enum { CAPTURE_SIZE = 16384 };

/* Calls `function`; `text` gets what it writes to stderr. */
void capture_stderr(void (*function)(void *), void *argument, char *text);

/* Calls `function` in a forked child, which must die by SIGABRT and write exactly `text` to stderr. */
void require_abort(void (*function)(void *), void *argument, const char *text);

/* As require_abort, for a broken invariant that is reported as `what`. */
void require_bug(void (*function)(void *), void *argument, const char *what);

/* Whether the kernel holds memory for the page. */
bool page_is_resident(const void *page);

/* How many of the pages in `bytes` from `start` on it holds memory for. */
size_t resident_pages(const void *start, size_t bytes);

/* The protection of the mapping at `address` as in /proc/self/maps, "rw-p" for one; "" when there is none. */
const char *mapping_protection(const void *address);

/* Whether "hg" (huge pages are wanted), "nh" (they are not), ... is among the flags of the mapping at `address`. */
bool mapping_has_flag(const void *address, const char *flag);

/* As mlock(2) and munlockall(2); AddressSanitizer has functions of these names that do nothing. */
int lock_pages(const void *address, size_t bytes);
int unlock_pages(void);

/* How many mappings have the flag. */
size_t mappings_with_flag(const char *flag);

/* Of each of the `count` huge pages from `base` on: whether its first byte's mapping has "hg", and "nh". */
void huge_page_flags(const void *base, size_t count, bool *wanted, bool *refused);

/* Returns one block to its pool. */
enum pm_fault return_block(struct pm_pool *pool, void *block);

/* A new heap through which so much has passed that it is not light. */
struct pm_heap *busy_heap(void);

/* Whether the heap has an arena on one of its lists. */
bool has_arenas(const struct pm_heap *heap);

/* Every arena of the heap that the region knows is on the list where it belongs, and on no other; the lists are linked
 * both ways; what the heap counts is what the arenas say; and the kernel holds memory for no free pool that is not
 * known as dirty. With pm_heap_verify. */
void require_lists(struct pm_heap *heap);

/* What pm_os_milliseconds says in the programs that are linked with --wrap=pm_os_milliseconds. */
extern uint64_t test_now;
/* What another thread does just after a thread has read that clock; once. */
extern void (*test_meanwhile)(void);

/* Replaces the region, of which nothing may be in use yet, by one of `size` bytes. */
void fresh_region(size_t size);

#endif
