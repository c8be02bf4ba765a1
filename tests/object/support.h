/* SPDX-License-Identifier: MIT
 *
 * What the tests of the object library have in common: a node of two references, and how a mistake ends the program.
 */
#ifndef TEST_OBJECT_SUPPORT_H
#define TEST_OBJECT_SUPPORT_H

#include "poolobject.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>

struct node {
    void *left, *right;
};

/* A node with a number, which the hooks of its type report to. */
struct hooked {
    void *next;
    uint64_t number;
};

enum { HOOKED_MAX = 64 };

/* What the hooks have seen, by number. */
extern int finalized[HOOKED_MAX], destroyed[HOOKED_MAX];

po_heap *new_heap(void);       /* that collects by hand only */
po_type *node_type(po_heap *); /* two references */
po_type *hooked_type(po_heap *, void (*finalize)(void *));
void count_finalize(void *object);

/* A new reference to a node; the two are stolen. */
void *new_node(po_type *type, void *left, void *right);
/* A ring of `count` nodes by `right`; a new reference to one. */
void *new_ring(po_type *type, size_t count);
void *new_hooked(po_type *type, uint64_t number, void *next);

size_t objects_in(po_heap *heap);

/* Calls `function` in a forked child, which must die by SIGABRT and write exactly this line to stderr. */
void require_abort(void (*function)(void), const char *line);
/* Runs it in a child and returns what it wrote to stderr; the child must end normally. */
const char *stderr_of(void (*function)(void));

#endif
