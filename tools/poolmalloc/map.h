/* SPDX-License-Identifier: MIT
 *
 * The picture of a heap: rows of 64 cells, each of them a pool, or, in a heap with more arenas than rows are wanted,
 * some neighbouring pools together.
 */
#ifndef PM_MAP_H
#define PM_MAP_H

#include "source.h"

#define PM_MAP_COLUMNS PM_ARENA_POOLS

struct pm_cell {
    uint16_t states[PM_POOL_STATES]; /* pools in each, together pools_in_cell but for what is missing at the end */
    uint8_t state;                   /* the most frequent; assigned if any is */
    uint8_t class;                   /* the most frequent among the assigned pools */
    bool mixed;                      /* assigned pools of several classes */
    uint32_t blocks, taken;          /* of all assigned pools */
    uint64_t bytes, taken_bytes;
};

struct pm_map_class {
    uint64_t pools, blocks, taken;
};

struct pm_map {
    const struct pm_source *source;
    const struct pm_snapshot *snapshot;
    unsigned pools_in_cell;
    size_t arenas, rows;
    struct pm_cell *cells;   /* rows * 64 */
    uintptr_t *addresses;    /* of each row's first arena */
    struct pm_map_class classes[PM_CLASS_LAST + 1];
    uint64_t states[PM_POOL_STATES];
    uint64_t bytes, taken_bytes; /* in assigned pools */
};

struct pm_colour {
    uint8_t red, green, blue;
};

extern const char *const pm_map_state_names[PM_POOL_STATES];

/* Neighbouring classes have colours that differ, and the whole goes once through the hues. */
struct pm_colour pm_map_colour(unsigned class);

/* How many cells a row has: the last one may have fewer than the others. */
unsigned pm_map_cells(const struct pm_map *map, size_t row);

void pm_map_terminal(const struct pm_map *map);

/* Writes to the file of that name, "-" for stdout; ends the command when it cannot. */
void pm_map_svg(const struct pm_map *map, const char *name);

#endif
