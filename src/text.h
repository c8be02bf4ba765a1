/* SPDX-License-Identifier: MIT
 *
 * Text without stdio: a line is put together in a buffer of the caller's and written to a file descriptor. Messages and
 * statistics come from places where stdio may be closed, locked or about to call malloc. Layer 1: uses os.h.
 */
#ifndef PM_TEXT_H
#define PM_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct pm_text {
    int fd;
    unsigned length;
    char buffer[512]; /* written out when full, and by pm_text_flush */
};

void pm_text_start(struct pm_text *text, int fd);
void pm_text_string(struct pm_text *text, const char *string);
void pm_text_bytes(struct pm_text *text, const char *bytes, size_t length);
void pm_text_number(struct pm_text *text, uint64_t number);
/* Right-aligned in `width` columns. */
void pm_text_column(struct pm_text *text, uint64_t number, unsigned width);
/* Left-aligned in `width` columns. */
void pm_text_label(struct pm_text *text, const char *string, unsigned width);
void pm_text_pointer(struct pm_text *text, const void *pointer);
void pm_text_hex(struct pm_text *text, uint64_t number);
void pm_text_flush(struct pm_text *text);

/* A line of a table of totals: indented, the number in a column, what follows it as it is. */
void pm_text_line(struct pm_text *text, const char *label, uint64_t number, const char *unit);

#endif
