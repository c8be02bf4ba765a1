/* SPDX-License-Identifier: MIT
 *
 * The picture as SVG. A cell is drawn in the pale colour of its class; what is taken lies over it in the full colour,
 * one path for each class of a row; a <title> in each cell is the tooltip. Neighbouring pools without blocks are one
 * shape. The legend comes first; below it the rows, of a large heap smaller and in several columns side by side, so
 * that the picture is no higher than it is wide.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "map.h"
#include "poolmalloc.h"
#include "terminal.h"

#define MARGIN 16
#define HEADING 66 /* three lines */
#define LEGEND_COLUMN 164 /* of a size class */
#define STATE_COLUMN 196
#define LEGEND_ROW 18
#define ROWS_IN_ONE_COLUMN 64

struct layout {
    unsigned cell;        /* with a gap of 1 */
    unsigned row;         /* its height, with a gap */
    unsigned label;       /* the width of an address */
    unsigned label_rows;  /* each such row has one: there is no room for more */
    unsigned font;        /* its height */
    unsigned columns;     /* of rows */
    unsigned column;      /* the width of one */
    size_t column_rows;
    unsigned top;         /* of the first row */
    unsigned width, height;
};

static unsigned
legend_lines(const struct layout *layout, unsigned entries, unsigned width)
{
    unsigned columns = (layout->width - MARGIN) / width;
    return (entries + columns - 1) / columns;
}

static struct layout
lay_out(const struct pm_map *map)
{
    struct layout layout = {.cell = 11, .row = 13, .label = 102, .label_rows = 1, .font = 11, .columns = 1};
    unsigned classes = 0;
    if (map->rows > ROWS_IN_ONE_COLUMN)
        layout = (struct layout){.cell = 6, .row = 7, .label = 92, .label_rows = 2, .font = 10, .columns = 2};
    layout.column = layout.label + PM_MAP_COLUMNS * layout.cell + MARGIN;
    double wide = sqrt((double)map->rows * layout.row / (0.75 * layout.column));
    if (layout.columns > 1 && wide > layout.columns)
        layout.columns = (unsigned)(wide + 0.5);
    layout.column_rows = (map->rows + layout.columns - 1) / layout.columns;
    layout.width = MARGIN + layout.columns * layout.column;
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        classes += map->classes[class].pools != 0;
    unsigned lines = legend_lines(&layout, classes, LEGEND_COLUMN) +
                     legend_lines(&layout, PM_POOL_STATES - 1, STATE_COLUMN);
    layout.top = HEADING + 26 + lines * LEGEND_ROW + 22;
    layout.height = layout.top + (unsigned)layout.column_rows * layout.row + MARGIN;
    return layout;
}

static unsigned
cell_x(const struct layout *layout, size_t row, unsigned column)
{
    return MARGIN + (unsigned)(row / layout->column_rows) * layout->column + layout->label + column * layout->cell;
}

static unsigned
cell_y(const struct layout *layout, size_t row)
{
    return layout->top + (unsigned)(row % layout->column_rows) * layout->row;
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
put_styles(FILE *file, const struct pm_map *map, const struct layout *layout)
{
    static const char *const states[] = {"#8a8f98", "#b5a27c", "", "#eef0f3", "#cfd4da", "#ffffff"};
    fprintf(file, "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:18px;font-weight:600}"
            ".a{font:%upx monospace;fill:#57606a}.f{pointer-events:none}\n", layout->font);
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
put_key(FILE *file, const char *kind, unsigned number, unsigned x, unsigned y)
{
    fprintf(file, "<rect class=\"%s%u\" x=\"%u\" y=\"%u\" width=\"12\" height=\"12\"/><text x=\"%u\" y=\"%u\">", kind,
            number, x, y, x + 18, y + 11);
}

static void
put_legend(FILE *file, const struct pm_map *map, const struct layout *layout)
{
    unsigned columns = (layout->width - MARGIN) / LEGEND_COLUMN, entry = 0, top = HEADING + 26;
    char count[16];
    fprintf(file, "<text x=\"%u\" y=\"%u\">Size of blocks: pools, how full; then the pools without blocks</text>\n",
            MARGIN, top - 4);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_map_class *row = &map->classes[class];
        if (row->pools == 0)
            continue;
        put_key(file, "c", class, MARGIN + entry % columns * LEGEND_COLUMN, top + 4 + entry / columns * LEGEND_ROW);
        fprintf(file, "%zu bytes: %s, %.0f%%</text>\n", pm_class_size(class), pm_terminal_count(row->pools, count),
                100.0 * (double)row->taken / (double)row->blocks);
        entry++;
    }
    top += 8 + legend_lines(layout, entry, LEGEND_COLUMN) * LEGEND_ROW;
    columns = (layout->width - MARGIN) / STATE_COLUMN;
    entry = 0;
    for (unsigned state = 0; state < PM_POOL_STATES; state++) {
        if (state == PM_POOL_ASSIGNED)
            continue;
        put_key(file, "s", state, MARGIN + entry % columns * STATE_COLUMN, top + entry / columns * LEGEND_ROW);
        fprintf(file, "%s: %s</text>\n", pm_map_state_names[state], pm_terminal_count(map->states[state], count));
        entry++;
    }
}

static void
put_used_cell(FILE *file, const struct pm_map *map, const struct layout *layout, size_t row, unsigned column)
{
    const struct pm_cell *cell = &map->cells[row * PM_MAP_COLUMNS + column];
    unsigned side = layout->cell - 1;
    fprintf(file, "<path class=\"p%u\" d=\"M%u %uh%uv%uh-%uz\"><title>", cell->class, cell_x(layout, row, column),
            cell_y(layout, row), side, side, side);
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
put_other_cells(FILE *file, const struct pm_map *map, const struct layout *layout, size_t row, unsigned column)
{
    const struct pm_cell *cells = &map->cells[row * PM_MAP_COLUMNS];
    unsigned end = column + 1, side = layout->cell - 1;
    while (end < pm_map_cells(map, row) && cells[end].state == cells[column].state)
        end++;
    unsigned length = (end - column) * layout->cell - 1;
    fprintf(file, "<path class=\"s%u\" d=\"M%u %uh%uv%uh-%uz\"><title>%u %s</title></path>\n", cells[column].state,
            cell_x(layout, row, column), cell_y(layout, row), length, side, length,
            (end - column) * map->pools_in_cell, pm_map_state_names[cells[column].state]);
    return end;
}

/* The taken part of all cells of one class in a row. */
static void
put_levels(FILE *file, const struct pm_map *map, const struct layout *layout, size_t row, unsigned class)
{
    bool begun = false;
    unsigned side = layout->cell - 1;
    for (unsigned column = 0; column < PM_MAP_COLUMNS; column++) {
        const struct pm_cell *cell = &map->cells[row * PM_MAP_COLUMNS + column];
        if (cell->state != PM_POOL_ASSIGNED || cell->class != class || cell->taken == 0)
            continue;
        if (!begun)
            fprintf(file, "<path class=\"f c%u\" d=\"", class);
        begun = true;
        double height = side * (double)cell->taken_bytes / (double)cell->bytes;
        fprintf(file, "M%u %uv-%.3gh%uv%.3gz", cell_x(layout, row, column), cell_y(layout, row) + side, height, side,
                height);
    }
    if (begun)
        fputs("\"/>\n", file);
}

static void
put_row(FILE *file, const struct pm_map *map, const struct layout *layout, size_t row)
{
    if (row % layout->column_rows % layout->label_rows == 0)
        fprintf(file, "<text class=\"a\" x=\"%u\" y=\"%u\">0x%lx</text>\n", cell_x(layout, row, 0) - layout->label,
                cell_y(layout, row) + 9, (unsigned long)map->addresses[row]);
    for (unsigned column = 0; column < pm_map_cells(map, row);)
        if (map->cells[row * PM_MAP_COLUMNS + column].state == PM_POOL_ASSIGNED)
            put_used_cell(file, map, layout, row, column++);
        else
            column = put_other_cells(file, map, layout, row, column);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        if (map->classes[class].pools != 0)
            put_levels(file, map, layout, row, class);
}

void
pm_map_svg(const struct pm_map *map, const char *name)
{
    FILE *file = strcmp(name, "-") == 0 ? stdout : fopen(name, "we");
    if (file == NULL)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "%s: %s", name, strerror(errno));
    struct layout layout = lay_out(map);
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n"
            "<title>The heap of ", layout.width, layout.height, layout.width, layout.height);
    put_text(file, map->source->target.name);
    fputs(", drawn by poolmalloc " PM_VERSION_STRING "</title>\n", file);
    put_styles(file, map, &layout);
    fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", file);
    put_heading(file, map);
    put_legend(file, map, &layout);
    for (size_t row = 0; row < map->rows; row++)
        put_row(file, map, &layout, row);
    fputs("</svg>\n", file);
    if (fflush(file) != 0 || ferror(file) || (file != stdout && fclose(file) != 0))
        pm_command_fail(PM_STATUS_NO_OUTPUT, "%s: %s", name, strerror(errno));
}
