/* SPDX-License-Identifier: MIT
 *
 * The picture as SVG. A cell is drawn in the pale colour of its class; what is taken lies over it in the full colour,
 * one path for each class of a row; a <title> in each cell is the tooltip. Neighbouring pools without blocks are one
 * shape.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "map.h"
#include "poolmalloc.h"
#include "terminal.h"

#define CELL 11 /* with a gap of 1 */
#define ROW 13
#define LEFT 118
#define TOP 82
#define RIGHT 24
#define LEGEND_COLUMN 164
#define LEGEND_ROW 18
#define WIDTH (LEFT + PM_MAP_COLUMNS * CELL + RIGHT)

static unsigned
legend_entries(const struct pm_map *map)
{
    unsigned count = 0;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        count += map->classes[class].pools != 0;
    return count;
}

static unsigned
legend_lines(unsigned entries)
{
    unsigned columns = (WIDTH - RIGHT) / LEGEND_COLUMN;
    return (entries + columns - 1) / columns;
}

/* What XML cannot hold in a text is replaced. */
static void
put_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '&' || *text == '<' || *text == '>')
            fprintf(file, "&#%d;", *text);
        else
            fputc((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? '?' : *text, file);
}

static void
put_styles(FILE *file, const struct pm_map *map)
{
    static const char *const states[] = {"#8a8f98", "#b5a27c", "", "#eef0f3", "#cfd4da", "#ffffff"};
    fputs("<style>text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:18px;font-weight:600}"
          ".a{font:11px monospace;fill:#57606a}.f{pointer-events:none}\n", file);
    for (unsigned state = 0; state < PM_POOL_STATES; state++)
        if (state != PM_POOL_ASSIGNED)
            fprintf(file, ".s%u{fill:%s;stroke:#d0d7de;stroke-width:.5}\n", state, states[state]);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        struct pm_colour colour = pm_map_colour(class);
        if (map->classes[class].pools != 0)
            fprintf(file, ".p%u{fill:#%02x%02x%02x}.c%u{fill:#%02x%02x%02x}\n", class, 255 - (255 - colour.red) / 4,
                    255 - (255 - colour.green) / 4, 255 - (255 - colour.blue) / 4, class, colour.red, colour.green,
                    colour.blue);
    }
    fputs("</style>\n", file);
}

static void
put_heading(FILE *file, const struct pm_map *map)
{
    char bytes[16], taken[16];
    fprintf(file, "<text class=\"t\" x=\"16\" y=\"28\">");
    put_text(file, map->source->target.name);
    fprintf(file,
            " (%s%d)</text>\n<text x=\"16\" y=\"48\">%zu arenas of 256 KiB; %lu pools of 4 KiB hold blocks: "
            "%s, of which %s (%.0f%%) are taken.</text>\n",
            map->source->target.core != NULL ? "core of process " : "process ", (int)map->source->target.pid,
            map->arenas, map->states[PM_POOL_ASSIGNED], pm_terminal_bytes(map->bytes, bytes),
            pm_terminal_bytes(map->taken_bytes, taken),
            map->bytes != 0 ? 100.0 * (double)map->taken_bytes / (double)map->bytes : 0);
    if (map->pools_in_cell == 1)
        fputs("<text x=\"16\" y=\"66\">Each cell is a pool, coloured by size class, filled by what is taken; point at "
              "one for "
              "the numbers.</text>\n",
              file);
    else
        fprintf(file,
                "<text x=\"16\" y=\"66\">Too many arenas for a cell each: a cell is %u neighbouring pools, a row %u "
                "arenas; "
                "its colour is that of a class in it.</text>\n",
                map->pools_in_cell, map->pools_in_cell);
}

static void
put_legend(FILE *file, const struct pm_map *map, unsigned top)
{
    unsigned columns = (WIDTH - RIGHT) / LEGEND_COLUMN, entry = 0;
    char count[16];
    fprintf(file, "<text x=\"16\" y=\"%u\">Size of blocks: pools, how full</text>\n", top);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_map_class *row = &map->classes[class];
        if (row->pools == 0)
            continue;
        unsigned x = 16 + entry % columns * LEGEND_COLUMN, y = top + 8 + entry / columns * LEGEND_ROW;
        fprintf(
            file,
            "<rect class=\"c%u\" x=\"%u\" y=\"%u\" width=\"12\" height=\"12\"/><text x=\"%u\" y=\"%u\">%zu bytes: %s, "
            "%.0f%%</text>\n",
            class, x, y, x + 18, y + 11, pm_class_size(class), pm_terminal_count(row->pools, count),
            100.0 * (double)row->taken / (double)row->blocks);
        entry++;
    }
    unsigned y = top + 16 + legend_lines(entry) * LEGEND_ROW, x = 16;
    for (unsigned state = 0; state < PM_POOL_STATES; state++) {
        if (state == PM_POOL_ASSIGNED)
            continue;
        fprintf(
            file,
            "<rect class=\"s%u\" x=\"%u\" y=\"%u\" width=\"12\" height=\"12\"/><text x=\"%u\" y=\"%u\">%s: %s</text>\n",
            state, x, y, x + 18, y + 11, pm_map_state_names[state], pm_terminal_count(map->states[state], count));
        x += LEGEND_COLUMN;
    }
}

static void
put_used_cell(FILE *file, const struct pm_map *map, size_t row, unsigned column)
{
    const struct pm_cell *cell = &map->cells[row * PM_MAP_COLUMNS + column];
    fprintf(file, "<path class=\"p%u\" d=\"M%u %zuh%dv%dh-%dz\"><title>", cell->class, LEFT + column * CELL,
            TOP + row * ROW, CELL - 1, CELL - 1, CELL - 1);
    if (map->pools_in_cell == 1)
        fprintf(file, "0x%lx: %zu bytes, %u of %u taken", (unsigned long)(map->addresses[row] + column * PM_POOL_SIZE),
                pm_class_size(cell->class), cell->taken, cell->blocks);
    else
        fprintf(file, "%u pools in use, %s%zu bytes, %u of %u blocks taken", cell->states[PM_POOL_ASSIGNED],
                cell->mixed ? "of several classes, such as " : "", pm_class_size(cell->class), cell->taken,
                cell->blocks);
    fputs("</title></path>\n", file);
}

/* From `column` on, all that look the same; returns the column behind them. */
static unsigned
put_other_cells(FILE *file, const struct pm_map *map, size_t row, unsigned column)
{
    const struct pm_cell *cells = &map->cells[row * PM_MAP_COLUMNS];
    unsigned end = column + 1;
    while (end < pm_map_cells(map, row) && cells[end].state == cells[column].state)
        end++;
    fprintf(file, "<path class=\"s%u\" d=\"M%u %zuh%uv%dh-%uz\"><title>%u %s</title></path>\n", cells[column].state,
            LEFT + column * CELL, TOP + row * ROW, (end - column) * CELL - 1, CELL - 1, (end - column) * CELL - 1,
            (end - column) * map->pools_in_cell, pm_map_state_names[cells[column].state]);
    return end;
}

/* The taken part of all cells of one class in a row. */
static void
put_levels(FILE *file, const struct pm_map *map, size_t row, unsigned class)
{
    bool begun = false;
    for (unsigned column = 0; column < PM_MAP_COLUMNS; column++) {
        const struct pm_cell *cell = &map->cells[row * PM_MAP_COLUMNS + column];
        if (cell->state != PM_POOL_ASSIGNED || cell->class != class || cell->taken == 0)
            continue;
        if (!begun)
            fprintf(file, "<path class=\"f c%u\" d=\"", class);
        begun = true;
        double height = (CELL - 1) * (double)cell->taken_bytes / (double)cell->bytes;
        fprintf(file, "M%u %zuv-%.3gh%dv%.3gz", LEFT + column * CELL, TOP + row * ROW + CELL - 1, height, CELL - 1,
                height);
    }
    if (begun)
        fputs("\"/>\n", file);
}

static void
put_row(FILE *file, const struct pm_map *map, size_t row)
{
    fprintf(file, "<text class=\"a\" x=\"16\" y=\"%zu\">0x%lx</text>\n", TOP + row * ROW + CELL - 2,
            (unsigned long)map->addresses[row]);
    for (unsigned column = 0; column < pm_map_cells(map, row);)
        if (map->cells[row * PM_MAP_COLUMNS + column].state == PM_POOL_ASSIGNED)
            put_used_cell(file, map, row, column++);
        else
            column = put_other_cells(file, map, row, column);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        if (map->classes[class].pools != 0)
            put_levels(file, map, row, class);
}

void
pm_map_svg(const struct pm_map *map, const char *name)
{
    FILE *file = strcmp(name, "-") == 0 ? stdout : fopen(name, "we");
    if (file == NULL)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "%s: %s", name, strerror(errno));
    unsigned bottom = TOP + (unsigned)map->rows * ROW + 24;
    unsigned height = bottom + 48 + legend_lines(legend_entries(map)) * LEGEND_ROW;
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n"
            "<title>The heap of ", WIDTH, height, WIDTH, height);
    put_text(file, map->source->target.name);
    fputs(", drawn by poolmalloc " PM_VERSION_STRING "</title>\n", file);
    put_styles(file, map);
    fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", file);
    put_heading(file, map);
    for (size_t row = 0; row < map->rows; row++)
        put_row(file, map, row);
    put_legend(file, map, bottom);
    fputs("</svg>\n", file);
    if (fflush(file) != 0 || ferror(file) || (file != stdout && fclose(file) != 0))
        pm_command_fail(PM_STATUS_NO_OUTPUT, "%s: %s", name, strerror(errno));
}
