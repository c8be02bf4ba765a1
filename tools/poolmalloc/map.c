/* SPDX-License-Identifier: MIT
 *
 * poolmalloc map: the heap of a process or of a core file as a picture.
 */
#define _GNU_SOURCE
#include "map.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define TERMINAL_ROWS 64
#define SVG_ROWS 1024
#define ROWS_MAX 100000

static const char help[] =
    "usage: poolmalloc map [options] PID\n"
    "       poolmalloc map [options] --core FILE\n"
    "\n"
    "The heap as a picture: arenas in the order of their addresses, one to a row; each of its 64 pools of 4 KiB is a\n"
    "cell, coloured by size class and filled by how many of its blocks are taken. A running process goes on running.\n"
    "\n"
    "  --core FILE           the heap of the process that left this core file\n"
    "  -o, --output FILE     an SVG picture for a browser, with a tooltip for each pool; - is the standard output\n"
    "  --rows N              at most so many rows (64 in the terminal, 1024 in SVG); in a larger heap a cell is\n"
    "                        several pools\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n"
    "\n"
    "Colours are used on a terminal, unless NO_COLOR is set; otherwise a character stands for each size class.\n";

enum choice { CORE = 256, ROWS, HELP };

static const struct option options[] = {
    {"core", required_argument, NULL, CORE},
    {"output", required_argument, NULL, 'o'},
    {"rows", required_argument, NULL, ROWS},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

const char *const pm_map_state_names[PM_POOL_STATES] = {
    [PM_POOL_DESCRIPTORS] = "descriptors",
    [PM_POOL_MAPS] = "8-byte block maps",
    [PM_POOL_ASSIGNED] = "in use",
    [PM_POOL_RESERVED] = "reserved for a class",
    [PM_POOL_FREE_DIRTY] = "free, memory kept",
    [PM_POOL_FREE] = "free, given back",
};

static uint8_t
channel(double hue, double lightness)
{
    double distance = hue < 0 ? hue + 6 : hue >= 6 ? hue - 6 : hue;
    double level = distance < 1 ? distance : distance < 3 ? 1 : distance < 4 ? 4 - distance : 0;
    double low = 0.2, high = lightness;
    return (uint8_t)(255 * (low + (high - low) * level));
}

struct pm_colour
pm_map_colour(unsigned class)
{
    double hue = 5.4 * (class - 1) / PM_CLASS_LAST; /* of 6: red is not to come back */
    /* Classes of malloc come in steps of two: of two neighbours one is lighter. */
    double lightness = class % 4 < 2 ? 0.92 : 0.68;
    return (struct pm_colour){channel(hue + 2, lightness), channel(hue, lightness), channel(hue - 2, lightness)};
}

unsigned
pm_map_cells(const struct pm_map *map, size_t row)
{
    size_t cells = (map->arenas * PM_ARENA_POOLS + map->pools_in_cell - 1) / map->pools_in_cell - row * PM_MAP_COLUMNS;
    return cells < PM_MAP_COLUMNS ? (unsigned)cells : PM_MAP_COLUMNS;
}

static void
add_pool(struct pm_map *map, struct pm_cell *cell, const struct pm_pool_row *pool)
{
    cell->states[pool->state]++;
    map->states[pool->state]++;
    if (pool->state != PM_POOL_ASSIGNED) {
        if (cell->states[PM_POOL_ASSIGNED] == 0 && cell->states[pool->state] >= cell->states[cell->state])
            cell->state = pool->state;
        return;
    }
    unsigned taken = pool->blocks - pool->free;
    cell->mixed |= cell->state == PM_POOL_ASSIGNED && cell->class != pool->class;
    cell->state = PM_POOL_ASSIGNED;
    cell->class = cell->mixed ? cell->class : pool->class;
    cell->blocks += pool->blocks;
    cell->taken += taken;
    cell->bytes += pool->blocks * pm_class_size(pool->class);
    cell->taken_bytes += taken * pm_class_size(pool->class);
    map->classes[pool->class].pools++;
    map->classes[pool->class].blocks += pool->blocks;
    map->classes[pool->class].taken += taken;
    map->bytes += pool->blocks * pm_class_size(pool->class);
    map->taken_bytes += taken * pm_class_size(pool->class);
}

static void
build(struct pm_map *map, struct pm_source *source, struct pm_snapshot *snapshot, size_t rows)
{
    struct pm_pool_row pools[PM_ARENA_POOLS];
    *map = (struct pm_map){.source = source, .snapshot = snapshot, .pools_in_cell = 1, .arenas = snapshot->arenas};
    while ((snapshot->arenas + map->pools_in_cell - 1) / map->pools_in_cell > rows)
        map->pools_in_cell *= 2;
    map->rows = (snapshot->arenas + map->pools_in_cell - 1) / map->pools_in_cell;
    map->cells = pm_command_allocate(map->rows * PM_MAP_COLUMNS * sizeof *map->cells);
    map->addresses = pm_command_allocate(map->rows * sizeof *map->addresses);
    memset(map->cells, 0, map->rows * PM_MAP_COLUMNS * sizeof *map->cells);
    for (size_t i = 0; i < snapshot->arenas; i++) {
        uintptr_t arena = snapshot->arena_rows[i].address;
        if (i % map->pools_in_cell == 0)
            map->addresses[i / map->pools_in_cell] = arena;
        /* An arena that has gone back to the region since: all free. */
        if (!pm_snapshot_pools(&source->reader, snapshot, arena, pools))
            for (unsigned pool = 0; pool < PM_ARENA_POOLS; pool++)
                pools[pool] = (struct pm_pool_row){.state = PM_POOL_FREE};
        for (unsigned pool = 0; pool < PM_ARENA_POOLS; pool++)
            add_pool(map, &map->cells[(i * PM_ARENA_POOLS + pool) / map->pools_in_cell], &pools[pool]);
    }
}

int
pm_map_main(int count, char **arguments)
{
    struct pm_source source;
    struct pm_map map;
    const char *core = NULL, *output = NULL;
    size_t rows = 0;
    int answer;
    while ((answer = getopt_long(count, arguments, ":o:", options, NULL)) != -1)
        switch (answer) {
        case CORE: core = optarg; break;
        case 'o': output = optarg; break;
        case ROWS: rows = pm_command_number("--rows", optarg, 1, ROWS_MAX); break;
        case HELP: pm_command_help(help);
        default: pm_command_bad_option(answer, arguments);
        }
    if (count - optind != (core == NULL ? 1 : 0))
        pm_command_usage("give either one PID or --core FILE");
    const char *end = output != NULL ? strrchr(output, '.') : NULL;
    if (output != NULL && strcmp(output, "-") != 0 && (end == NULL || strcasecmp(end, ".svg") != 0))
        pm_command_usage("the picture is SVG: the name of the output ends in .svg");
    if (core != NULL)
        pm_source_open_core(&source, core);
    else
        pm_source_open_process(&source, arguments[optind]);
    struct pm_snapshot *snapshot = pm_source_snapshot(&source);
    build(&map, &source, snapshot, rows != 0 ? rows : output != NULL ? SVG_ROWS : TERMINAL_ROWS);
    if (output != NULL)
        pm_map_svg(&map, output);
    else
        pm_map_terminal(&map);
    pm_command_finish_output();
    free(map.cells);
    free(map.addresses);
    pm_source_free(snapshot);
    pm_source_close(&source);
    return PM_STATUS_OK;
}
