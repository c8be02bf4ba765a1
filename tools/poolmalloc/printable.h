/* SPDX-License-Identifier: MIT
 *
 * Text of other processes and files on its way to people: names of programs, paths, variables. It may hold anything
 * that a terminal would obey.
 */
#ifndef PM_PRINTABLE_H
#define PM_PRINTABLE_H

/* Replaces, in place, each byte of control characters and of what is no UTF-8 by a question mark; where the locale has
 * another encoding, each byte that is no ASCII. */
void pm_printable_make(char *text);

/* A copy made printable, good for the arguments of one call of printf: the eighth call after it takes its place. */
const char *pm_printable(const char *text);

#endif
