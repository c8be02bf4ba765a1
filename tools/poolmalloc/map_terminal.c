/* SPDX-License-Identifier: MIT
 *
 * The picture in the terminal. With colours a cell is a column of blocks, as high as it is full; without them a letter
 * that names the class, in a scale of 32 for malloc's classes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "terminal.h"

#define LABEL_COLUMNS 17 /* an address, and a blank */
#define SPARE_COLUMNS 2
#define FULL_COLUMNS (LABEL_COLUMNS + PM_MAP_COLUMNS + SPARE_COLUMNS)

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

static char
letter(unsigned class)
{
    return "abcdefghijklmnopqrstuvwxyzABCDEF"[(class - 1) / 2];
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

static void
print_rows(const struct pm_map *map)
{
    unsigned width = pm_terminal_width();
    /* A narrow terminal breaks an arena into two, four, ... lines. */
    unsigned columns = PM_MAP_COLUMNS;
    while (columns > 8 && columns + LABEL_COLUMNS > width)
        columns /= 2;
    size_t in_line = columns == PM_MAP_COLUMNS ? (width + SPARE_COLUMNS) / FULL_COLUMNS : 1;
    if (in_line > map->rows / 2)
        in_line = 1;
    size_t lines = (map->rows + in_line - 1) / in_line;
    for (size_t line = 0; line < lines; line++) {
        for (size_t part = 0; part < PM_MAP_COLUMNS; part += columns) {
            for (size_t side = 0; side < in_line; side++) {
                size_t row = side * lines + line;
                if (row >= map->rows)
                    break;
                if (part == 0)
                    printf("%s0x%-14lx ", side > 0 ? "  " : "", (unsigned long)map->addresses[row]);
                else
                    printf("%*s", LABEL_COLUMNS, "");
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
    puts("\nsize of blocks, pools, how full");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_map_class *row = &map->classes[class];
        if (row->pools == 0)
            continue;
        if (column + 24 > width) {
            putchar('\n');
            column = 0;
        }
        fputs("  ", stdout);
        print_level(class, row->taken, row->blocks);
        printf(" %3zu B %6s %3.0f%%   ", pm_class_size(class), pm_terminal_count(row->pools, count),
               row->blocks != 0 ? 100.0 * (double)row->taken / (double)row->blocks : 0);
        column += 24;
    }
    puts("\n\nother pools");
    for (unsigned state = 0; state < PM_POOL_STATES; state++)
        if (state != PM_POOL_ASSIGNED)
            printf("  %s %6s  %s\n", strcmp(state_sign(state), " ") == 0 ? "_" : state_sign(state),
                   pm_terminal_count(map->states[state], count), pm_map_state_names[state]);
}

void
pm_map_terminal(const struct pm_map *map)
{
    char bytes[16], taken[16];
    colour = pm_terminal_colour();
    printf("%s (%s%d): %zu arena%s of 256 KiB; %lu pools in use, with %s of blocks, %s of them taken (%.0f%%)\n",
           map->source->target.name, map->source->target.core != NULL ? "core of process " : "process ",
           (int)map->source->target.pid, map->arenas, map->arenas == 1 ? "" : "s", map->states[PM_POOL_ASSIGNED],
           pm_terminal_bytes(map->bytes, bytes), pm_terminal_bytes(map->taken_bytes, taken),
           map->bytes != 0 ? 100.0 * (double)map->taken_bytes / (double)map->bytes : 0);
    if (map->pools_in_cell > 1)
        printf("too many for a cell each: a cell is %u neighbouring pools, a row %u arenas (--rows changes that)\n",
               map->pools_in_cell, map->pools_in_cell);
    putchar('\n');
    print_rows(map);
    print_legend(map);
}
