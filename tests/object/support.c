/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int finalized[HOOKED_MAX], destroyed[HOOKED_MAX];

po_heap *
new_heap(void)
{
    po_heap *heap = po_heap_create(&(struct po_heap_options){.collect = PO_COLLECT_BY_HAND});
    cr_assert_not_null(heap);
    return heap;
}

po_type *
node_type(po_heap *heap)
{
    static const uint16_t references[] = {offsetof(struct node, left), offsetof(struct node, right), PO_END};
    po_type *type = po_type_create(
        heap, &(struct po_type_spec){.name = "node", .size = sizeof(struct node), .references = references});
    cr_assert_not_null(type);
    return type;
}

static void
count_destroy(void *object)
{
    destroyed[((struct hooked *)object)->number]++;
}

void
count_finalize(void *object)
{
    finalized[((struct hooked *)object)->number]++;
}

po_type *
hooked_type(po_heap *heap, void (*finalize)(void *))
{
    static const uint16_t references[] = {offsetof(struct hooked, next), PO_END};
    po_type *type = po_type_create(heap, &(struct po_type_spec){.name = "hooked",
                                                                .size = sizeof(struct hooked),
                                                                .references = references,
                                                                .finalize = finalize,
                                                                .destroy = count_destroy});
    cr_assert_not_null(type);
    return type;
}

void *
new_node(po_type *type, void *left, void *right)
{
    struct node *node = po_new(type);
    cr_assert_not_null(node);
    node->left = left;
    node->right = right;
    return node;
}

void *
new_ring(po_type *type, size_t count)
{
    struct node *first = new_node(type, NULL, NULL), *last = first;
    for (size_t i = 1; i < count; i++) {
        last->right = new_node(type, NULL, NULL);
        last = last->right;
    }
    po_set(&last->right, first);
    return first;
}

void *
new_hooked(po_type *type, uint64_t number, void *next)
{
    struct hooked *hooked = po_new(type);
    cr_assert_not_null(hooked);
    hooked->number = number;
    hooked->next = next;
    return hooked;
}

size_t
objects_in(po_heap *heap)
{
    struct po_heap_stats stats;
    po_heap_get_stats(heap, &stats);
    return stats.objects;
}

static char text[65536];

static int
run(void (*function)(void))
{
    int ends[2], status;
    size_t length = 0;
    ssize_t got;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        function();
        _exit(0);
    }
    close(ends[1]);
    while (length < sizeof text - 1 && (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

void
require_abort(void (*function)(void), const char *line)
{
    int status = run(function);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x, wrote: %s", (unsigned)status, text);
    cr_assert_str_eq(text, line);
}

const char *
stderr_of(void (*function)(void))
{
    int status = run(function);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x, wrote: %s", (unsigned)status, text);
    return text;
}
