/* SPDX-License-Identifier: MIT
 *
 * Every way to get a block and every way to give one back, as two tables: the contract says that any of the first goes
 * with any of the second.
 */
#ifndef TEST_PRODUCERS_H
#define TEST_PRODUCERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct producer {
    const char *name;
    void *(*get)(size_t size); /* NULL and errno on failure, whatever the entry point's own convention is */
    size_t alignment;          /* 0: as malloc */
};

struct consumer {
    const char *name;
    void (*put)(void *block, size_t size); /* `size` is what was asked for */
};

extern const struct producer producers[];
extern const size_t producer_count;
extern const struct consumer consumers[];
extern const size_t consumer_count;

/* What `producer` promises for `size` bytes. */
size_t producer_alignment(const struct producer *producer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
