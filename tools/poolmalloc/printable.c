/* SPDX-License-Identifier: MIT */
#include "printable.h"

#include <stdint.h>
#include <stdlib.h>

#include "command.h"
#include "terminal.h"

#define COPIES 8

/* The length of the character at `text`, 0 when it is none that may be printed. */
static size_t
character_length(const unsigned char *text)
{
    if (text[0] < 0x80)
        return text[0] >= 0x20 && text[0] != 0x7f;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    static const uint32_t lowest[] = {0, 0, 0xa0, 0x800, 0x10000}; /* below 0xa0: control characters */
    if (!pm_terminal_unicode() || text[0] < 0xc0 || text[0] > 0xf4)
        return 0;
    uint32_t code = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) /* also at the end of the text */
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    return code >= lowest[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? length : 0;
}

void
pm_printable_make(char *text)
{
    while (*text != '\0') {
        size_t length = character_length((unsigned char *)text);
        if (length == 0)
            *text = '?';
        text += length != 0 ? length : 1;
    }
}

const char *
pm_printable(const char *text)
{
    static char *copies[COPIES];
    static unsigned next;
    char **copy = &copies[next++ % COPIES];
    free(*copy);
    *copy = pm_command_format("%s", text);
    pm_printable_make(*copy);
    return *copy;
}
