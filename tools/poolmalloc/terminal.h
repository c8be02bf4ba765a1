/* SPDX-License-Identifier: MIT
 *
 * What stdout is: how wide, with colours or not, with the block characters of Unicode or not.
 */
#ifndef PM_TERMINAL_H
#define PM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool pm_terminal_is(void);
unsigned pm_terminal_width(void); /* COLUMNS, or the terminal's, or 100 */
bool pm_terminal_cursor(void); /* a terminal that obeys escape sequences: TERM is set, and not "dumb" */
bool pm_terminal_colour(void); /* such a terminal, and no NO_COLOR in the environment */
bool pm_terminal_unicode(void);

/* A paragraph of words, broken into lines where the terminal ends. */
void pm_terminal_wrap(const char *text);

/* A horizontal bar of `eighths` / 8 columns, padded to `columns`. */
void pm_terminal_bar(unsigned eighths, unsigned columns);

/* "17", "3.2 k", "45 M": at most 6 characters. In powers of 1000 for counts, of 1024 for bytes, with "KiB" and so on.
 */
const char *pm_terminal_count(uint64_t number, char buffer[16]);
const char *pm_terminal_bytes(uint64_t number, char buffer[16]);

#endif
