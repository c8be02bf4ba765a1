/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_DEFAULT 100

bool
pm_terminal_is(void)
{
    return isatty(STDOUT_FILENO);
}

unsigned
pm_terminal_width(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    if (columns != NULL && atoi(columns) > 0)
        return (unsigned)atoi(columns);
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : WIDTH_DEFAULT;
}

void
pm_terminal_wrap(const char *text)
{
    unsigned width = pm_terminal_width(), column = 0;
    while (*text != '\0') {
        unsigned length = (unsigned)strcspn(text, " ");
        if (column > 0 && column + 1 + length > width) {
            putchar('\n');
            column = 0;
        }
        printf("%s%.*s", column > 0 ? " " : "", (int)length, text);
        column += length + (column > 0);
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

bool
pm_terminal_cursor(void)
{
    const char *kind = getenv("TERM");
    return pm_terminal_is() && kind != NULL && *kind != '\0' && strcmp(kind, "dumb") != 0;
}

bool
pm_terminal_colour(void)
{
    const char *none = getenv("NO_COLOR");
    return pm_terminal_cursor() && (none == NULL || *none == '\0');
}

bool
pm_terminal_unicode(void)
{
    static int answer = -1;
    if (answer < 0) {
        setlocale(LC_CTYPE, "");
        answer = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    }
    return answer == 1;
}

void
pm_terminal_bar(unsigned eighths, unsigned columns)
{
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned full = eighths / 8, printed = full;
    for (unsigned i = 0; i < full; i++)
        fputs(pm_terminal_unicode() ? "█" : "#", stdout);
    if (eighths % 8 != 0) {
        fputs(pm_terminal_unicode() ? parts[eighths % 8] : eighths % 8 >= 4 ? "#" : "-", stdout);
        printed++;
    }
    printf("%*s", printed < columns ? (int)(columns - printed) : 0, "");
}

static const char *
scale(uint64_t number, unsigned step, const char *const *units, char buffer[16])
{
    double value = (double)number;
    unsigned unit = 0;
    for (; value >= (step == 1024 ? 1023.5 : 999.5) && unit < 5; unit++)
        value /= step;
    snprintf(buffer, 16, unit > 0 && value < 9.95 ? "%.1f%s%s" : "%.0f%s%s", value, units[unit][0] != '\0' ? " " : "",
             units[unit]);
    return buffer;
}

const char *
pm_terminal_count(uint64_t number, char buffer[16])
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    return scale(number, 1000, units, buffer);
}

const char *
pm_terminal_bytes(uint64_t number, char buffer[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    return scale(number, 1024, units, buffer);
}
