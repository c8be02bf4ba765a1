/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <string.h>

#include "os.h"

void
pm_text_start(struct pm_text *text, int fd)
{
    text->fd = fd;
    text->length = 0;
}

void
pm_text_flush(struct pm_text *text)
{
    pm_os_write(text->fd, text->buffer, text->length);
    text->length = 0;
}

void
pm_text_bytes(struct pm_text *text, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text->length == sizeof text->buffer)
            pm_text_flush(text);
        text->buffer[text->length++] = bytes[i];
    }
}

void
pm_text_string(struct pm_text *text, const char *string)
{
    pm_text_bytes(text, string, strlen(string));
}

static void
spaces(struct pm_text *text, size_t used, unsigned width)
{
    for (; used < width; used++)
        pm_text_bytes(text, " ", 1);
}

void
pm_text_label(struct pm_text *text, const char *string, unsigned width)
{
    pm_text_string(text, string);
    spaces(text, strlen(string), width);
}

static void
digits(struct pm_text *text, uint64_t number, unsigned base, unsigned width)
{
    char buffer[20];
    size_t start = sizeof buffer;
    do {
        buffer[--start] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    spaces(text, sizeof buffer - start, width);
    pm_text_bytes(text, buffer + start, sizeof buffer - start);
}

void
pm_text_number(struct pm_text *text, uint64_t number)
{
    digits(text, number, 10, 0);
}

void
pm_text_column(struct pm_text *text, uint64_t number, unsigned width)
{
    digits(text, number, 10, width);
}

void
pm_text_pointer(struct pm_text *text, const void *pointer)
{
    pm_text_hex(text, (uintptr_t)pointer);
}

void
pm_text_hex(struct pm_text *text, uint64_t number)
{
    pm_text_string(text, "0x");
    digits(text, number, 16, 0);
}

void
pm_text_line(struct pm_text *text, const char *label, uint64_t number, const char *unit)
{
    pm_text_string(text, "  ");
    pm_text_label(text, label, 30);
    pm_text_column(text, number, 16);
    pm_text_string(text, unit);
    pm_text_string(text, "\n");
}
