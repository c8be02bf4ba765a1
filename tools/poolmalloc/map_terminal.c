/* SPDX-License-Identifier: MIT
 *
 * The picture in the terminal. With colours a cell is a column of blocks, as high as it is full; without them a
 * character that names the class, one for each. A narrow terminal breaks the row of an arena into two or four lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "map.h"
#include "terminal.h"

#define SPARE_COLUMNS 2 /* between arenas side by side */
#define FEWEST_CELLS 16 /* in a line */
#define LEGEND_FIRST 21 /* the columns of an entry; those that follow in its line are further apart */
#define LEGEND_COLUMNS 24

static bool colour;

static void
set_colour(char layer, struct pm_colour of)
{
    const char *depth = getenv("COLORTERM");
    if (depth != NULL && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0))
        printf("\033[%c8;2;%u;%u;%um", layer, of.red, of.green, of.blue);
    else
        printf("\033[%c8;5;%um", layer, 16 + 36 * (of.red * 6 / 256u) + 6 * (of.green * 6 / 256u) + of.blue * 6 / 256u);
}

/* The classes of 16, 32, 48, ... bytes, which most blocks are of, have the alphabet; those between them the rest. None
 * is a sign of state_sign. */
static char
letter(unsigned class)
{
    static const char even[] = "abcdefghijklmnopqrstuvwxyzABCDEF", odd[] = "123456789GHIJKLMNOPQRSTUVWXYZ0@&";
    _Static_assert(sizeof even + sizeof odd - 2 == PM_CLASS_LAST, "a character for each class");
    return class % 2 == 0 ? even[class / 2 - 1] : odd[class / 2];
}

static const char *
state_sign(unsigned state)
{
    static const char *const signs[] = {"#", "%", "?", "=", ".", " "};
    static const char *const blocks[] = {"▒", "▓", "?", "╌", "░", " "};
    return pm_terminal_unicode() && colour ? blocks[state] : signs[state];
}

static void
print_level(unsigned class, uint64_t taken, uint64_t blocks)
{
    static const char *const levels[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (!colour) {
        putchar(letter(class));
        return;
    }
    struct pm_colour full = pm_map_colour(class);
    struct pm_colour pale = {full.red / 4, full.green / 4, full.blue / 4};
    unsigned level = blocks != 0 ? (unsigned)((taken * 8 + blocks - 1) / blocks) : 0;
    set_colour('4', pale);
    set_colour('3', full);
    if (pm_terminal_unicode())
        fputs(levels[level], stdout);
    else
        putchar("012345678"[level]);
    fputs("\033[0m", stdout);
}

static void
print_cell(const struct pm_cell *cell)
{
    if (cell->state == PM_POOL_ASSIGNED)
        print_level(cell->class, cell->taken_bytes, cell->bytes);
    else if (colour)
        printf("\033[90m%s\033[0m", state_sign(cell->state));
    else
        fputs(state_sign(cell->state), stdout);
}

/* The columns of "0x7f0123440000 ", for the longest address. */
static unsigned
label_columns(const struct pm_map *map)
{
    unsigned most = 0;
    for (size_t row = 0; row < map->rows; row++) {
        int length = snprintf(NULL, 0, "0x%lx ", (unsigned long)map->addresses[row]);
        most = (unsigned)length > most ? (unsigned)length : most;
    }
    return most;
}

static void
print_rows(const struct pm_map *map)
{
    unsigned width = pm_terminal_width(), label = label_columns(map), columns = PM_MAP_COLUMNS;
    while (columns > FEWEST_CELLS && label + columns > width)
        columns /= 2;
    size_t in_line = (width + SPARE_COLUMNS) / (label + PM_MAP_COLUMNS + SPARE_COLUMNS);
    if (in_line == 0 || in_line > map->rows / 2)
        in_line = 1;
    size_t lines = (map->rows + in_line - 1) / in_line;
    for (size_t line = 0; line < lines; line++) {
        for (size_t part = 0; part < PM_MAP_COLUMNS; part += columns) {
            for (size_t side = 0; side < in_line; side++) {
                size_t row = side * lines + line;
                if (row >= map->rows)
                    break;
                if (part == 0)
                    printf("%s0x%-*lx", side > 0 ? "  " : "", (int)label - 2, (unsigned long)map->addresses[row]);
                else
                    printf("%*s", (int)label, "");
                unsigned cells = pm_map_cells(map, row);
                for (size_t column = 0; column < columns && part + column < cells; column++)
                    print_cell(&map->cells[row * PM_MAP_COLUMNS + part + column]);
            }
            putchar('\n');
        }
    }
}

static void
print_legend(const struct pm_map *map)
{
    unsigned width = pm_terminal_width(), column = 0;
    char count[16];
    putchar('\n');
    pm_terminal_wrap(colour ? "size of blocks, pools in use, how full these are, as each cell shows by its height"
                            : "character, size of blocks, pools in use, how full these are");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_map_class *row = &map->classes[class];
        if (row->pools == 0)
            continue;
        if (column > 0 && column + LEGEND_COLUMNS > width) {
            putchar('\n');
            column = 0;
        }
        fputs(column > 0 ? "     " : "  ", stdout);
        print_level(class, row->taken, row->blocks);
        printf(" %3zu B %6s %3.0f%%", pm_class_size(class), pm_terminal_count(row->pools, count),
               row->blocks != 0 ? 100.0 * (double)row->taken / (double)row->blocks : 0);
        column += column > 0 ? LEGEND_COLUMNS : LEGEND_FIRST;
    }
    puts("\n\nother pools");
    for (unsigned state = 0; state < PM_POOL_STATES; state++)
        if (state != PM_POOL_ASSIGNED)
            printf("  %s %6s %s\n", state_sign(state), pm_terminal_count(map->states[state], count),
                   state == PM_POOL_FREE ? "given back (blank)" : pm_map_state_names[state]);
}

void
pm_map_terminal(const struct pm_map *map)
{
    char bytes[16], taken[16];
    unsigned needed = label_columns(map) + FEWEST_CELLS;
    if (pm_terminal_width() < needed)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "the map needs %u columns, and there are %u; -o FILE.svg makes a picture",
                        needed, pm_terminal_width());
    colour = pm_terminal_colour();
    char *heading = pm_command_format(
        "%s (%s%d): %zu arena%s of 256 KiB; %lu pools in use, with %s of blocks, %s of them taken (%.0f%%)",
        map->source->target.name, map->source->target.core != NULL ? "core of process " : "process ",
        (int)map->source->target.pid, map->arenas, map->arenas == 1 ? "" : "s", map->states[PM_POOL_ASSIGNED],
        pm_terminal_bytes(map->bytes, bytes), pm_terminal_bytes(map->taken_bytes, taken),
        map->bytes != 0 ? 100.0 * (double)map->taken_bytes / (double)map->bytes : 0);
    pm_terminal_wrap(heading);
    free(heading);
    if (map->pools_in_cell > 1) {
        heading = pm_command_format("too many for a cell each: a cell is %u neighbouring pools, a row %u arenas "
                                    "(--rows changes that)", map->pools_in_cell, map->pools_in_cell);
        pm_terminal_wrap(heading);
        free(heading);
    }
    putchar('\n');
    print_rows(map);
    print_legend(map);
}
