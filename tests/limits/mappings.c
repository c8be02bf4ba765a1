/* SPDX-License-Identifier: MIT
 *
 * `mappings <GiB>`: a heap of that size in small blocks takes few mappings, full, thinned out, and empty; the kernel
 * allows a process only some tens of thousands. Exits with 77 (skipped) where there is not enough memory.
 */
#include "support/check.h"
#include "support/measure.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_MORE = 200, STRETCH = 200 };

struct block {
    struct block *next;
};

static size_t
size_of(size_t i)
{
    return 16 + i * 48 % 512 / 16 * 16;
}

static void
require_few(size_t before, const char *when)
{
    size_t now = mapping_count();
    REQUIRE(now < before + MOST_MORE, "%zu mappings %s, %zu before", now, when, before);
    printf("%s: %zu mappings, %zu MiB resident\n", when, now, resident_bytes() >> 20);
}

/* Frees the list, or all of it but one block in ten, the others in stretches. */
static struct block *
give(struct block *list, int all)
{
    struct block *kept = NULL;
    for (size_t i = 0; list != NULL; i++) {
        struct block *next = list->next;
        if (all || i / STRETCH % 10 != 0) {
            free(list);
        } else {
            list->next = kept;
            kept = list;
        }
        list = next;
    }
    return kept;
}

int
main(int count, char **arguments)
{
    size_t total = count == 2 ? strtoul(arguments[1], NULL, 10) << 30 : 0;
    REQUIRE(total != 0, "how many GiB?");
    if (available_bytes() < total + total / 2)
        return 77;
    struct block *list = NULL;
    free(malloc(1));
    size_t before = mapping_count();
    size_t taken = 0;
    for (size_t i = 0; taken < total; i++) {
        struct block *block = malloc(size_of(i));
        REQUIRE(block != NULL, "no memory after %zu MiB", taken >> 20);
        block->next = list;
        list = block;
        taken += size_of(i);
    }
    require_few(before, "full");
    list = give(list, 0);
    require_few(before, "thinned out");
    malloc_trim(0);
    require_few(before, "thinned out and trimmed");
    give(list, 1);
    malloc_trim(0);
    require_few(before, "empty");
    return 0;
}
