/* SPDX-License-Identifier: MIT
 *
 * What the unit tests have in common: what a function writes to stderr, how a function ends the process, what the
 * kernel says of a page, and a region of a test's own.
 */
#ifndef TEST_UNIT_H
#define TEST_UNIT_H

#include <stdbool.h>
#include <stddef.h>

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

/* Replaces the region, of which nothing may be in use yet, by one of `size` bytes. */
void fresh_region(size_t size);

#endif
