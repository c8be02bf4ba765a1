/* SPDX-License-Identifier: MIT
 *
 * A display that takes the whole terminal and is painted again and again: in the terminal's other screen, a frame of
 * lines at a time, none of them wider than the terminal is at that moment.
 *
 * Whatever way the command ends, the terminal is as it was before, with the last frame on it: main.c closes the display
 * before it prints an error, exit() closes it, and signals that would end or stop the command only make
 * pm_screen_wait return.
 */
#ifndef PM_SCREEN_H
#define PM_SCREEN_H

#include <stdbool.h>

/* stdout is a terminal with a cursor (terminal.h). */
void pm_screen_open(void);
void pm_screen_close(void); /* does nothing when none is open */

/* Columns and lines as they are now. */
unsigned pm_screen_width(void);
unsigned pm_screen_height(void);

/* Keys are read: stdin is a terminal, and this command is the one in its foreground. */
bool pm_screen_has_keys(void);

/* A new frame, and its next line, cut where the terminal ends. Lines below the lower edge are dropped. */
void pm_screen_begin(void);
void pm_screen_line(bool inverse, const char *text);
void pm_screen_show(void);

enum pm_screen_event { PM_SCREEN_TIME, PM_SCREEN_PAINT, PM_SCREEN_QUIT };

/* Catches the signals that pm_screen_wait answers to, also where no display is open. */
void pm_screen_catch_signals(void);

/* Until `end` in the time of pm_command_seconds, or until `file` (-1: none) can be read: PM_SCREEN_TIME.
 * PM_SCREEN_PAINT when the terminal has another size now or came back from another program; PM_SCREEN_QUIT when the
 * user pressed q, or a signal asks for the end. */
enum pm_screen_event pm_screen_wait(double end, int file);

#endif
