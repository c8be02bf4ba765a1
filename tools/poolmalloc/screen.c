/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "screen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"

#define OTHER_SCREEN "\033[?1049h"
#define FIRST_SCREEN "\033[?1049l"
#define WRAP_OFF "\033[?7l" /* a line that has become too long meanwhile is cut, and does not move the others */
#define WRAP_ON "\033[?7h"
#define CURSOR_OFF "\033[?25l"
#define CURSOR_ON "\033[?25h"

#define WIDTH_DEFAULT 80 /* of a terminal that does not know its size, such as a serial line */
#define HEIGHT_DEFAULT 24

struct line {
    bool inverse;
    char *text;
};

static bool is_open, has_keys;
static struct termios first_mode;
static struct line *frame;
static unsigned frame_lines;

static volatile sig_atomic_t quit, stop, paint;
static int wake[2] = {-1, -1}; /* a signal that comes before the wait ends it as well */

static unsigned
size_of(bool height)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        size.ws_col = size.ws_row = 0;
    if (height)
        return size.ws_row != 0 ? size.ws_row : HEIGHT_DEFAULT;
    return size.ws_col != 0 ? size.ws_col : WIDTH_DEFAULT;
}

unsigned
pm_screen_width(void)
{
    return size_of(false);
}

unsigned
pm_screen_height(void)
{
    return size_of(true);
}

bool
pm_screen_has_keys(void)
{
    return has_keys;
}

/* ---- The frame ---- */

void
pm_screen_begin(void)
{
    for (unsigned i = 0; i < frame_lines; i++)
        free(frame[i].text);
    frame_lines = 0;
}

/* The bytes of the first `columns` characters, and how many characters these are. */
static size_t
cut(const char *text, unsigned columns, unsigned *used)
{
    size_t bytes = 0;
    *used = 0;
    while (text[bytes] != '\0') {
        bool begins = ((unsigned char)text[bytes] & 0xc0) != 0x80;
        if (begins && *used == columns)
            break;
        *used += begins;
        bytes++;
    }
    return bytes;
}

void
pm_screen_line(bool inverse, const char *text)
{
    unsigned used;
    if (frame_lines >= pm_screen_height())
        return;
    size_t bytes = cut(text, pm_screen_width(), &used);
    frame = pm_command_reallocate(frame, (frame_lines + 1) * sizeof *frame);
    frame[frame_lines++] = (struct line){inverse, pm_command_format("%.*s", (int)bytes, text)};
}

/* In one piece, so that no half of a frame is seen. A signal that asks for the end also ends a write that waits. */
static void
put(const char *bytes, size_t size)
{
    while (size > 0 && !quit) {
        ssize_t written = write(STDOUT_FILENO, bytes, size);
        if (written < 0 && errno != EINTR)
            pm_command_fail(PM_STATUS_NO_OUTPUT, "cannot write the output: %s", strerror(errno));
        bytes += written > 0 ? written : 0;
        size -= written > 0 ? (size_t)written : 0;
    }
}

void
pm_screen_show(void)
{
    char *bytes;
    size_t size;
    unsigned width = pm_screen_width(), used;
    FILE *file = open_memstream(&bytes, &size);
    if (file == NULL)
        return;
    fputs("\033[H", file);
    for (unsigned i = 0; i < frame_lines; i++) {
        size_t length = cut(frame[i].text, width, &used);
        fputs(i > 0 ? "\r\n" : "", file);
        fputs(frame[i].inverse ? "\033[7m" : "", file);
        /* Blanks, not an erasing sequence, which takes the last character of a full line with it. */
        fprintf(file, "%.*s%*s", (int)length, frame[i].text, (int)(width - used), "");
        fputs(frame[i].inverse ? "\033[0m" : "", file);
    }
    if (frame_lines < pm_screen_height())
        fputs("\r\n\033[J", file);
    fclose(file);
    put(bytes, size);
    free(bytes);
}

/* ---- The terminal ---- */

/* Keys come one by one and without echo. Not from the background: changing the mode there would stop the command. */
static void
take_keys(void)
{
    has_keys = isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
               tcgetattr(STDIN_FILENO, &first_mode) == 0;
    if (!has_keys)
        return;
    struct termios mode = first_mode;
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

static void
enter(void)
{
    take_keys();
    static const char sequence[] = OTHER_SCREEN WRAP_OFF CURSOR_OFF "\033[2J";
    put(sequence, sizeof sequence - 1);
    is_open = true;
}

/* The sequence is written whatever happens, and its failure not reported: there is no one left to tell. */
static void
leave(void)
{
    static const char sequence[] = CURSOR_ON WRAP_ON FIRST_SCREEN;
    is_open = false;
    ssize_t written = write(STDOUT_FILENO, sequence, sizeof sequence - 1);
    (void)written;
    if (has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &first_mode);
}

void
pm_screen_open(void)
{
    static bool registered;
    if (!registered)
        atexit(pm_screen_close);
    registered = true;
    pm_screen_catch_signals();
    fflush(stdout);
    enter();
}

void
pm_screen_close(void)
{
    if (!is_open)
        return;
    leave();
    for (unsigned i = 0; i < frame_lines; i++)
        printf("%s\n", frame[i].text);
    fflush(stdout);
    pm_screen_begin();
    free(frame);
    frame = NULL;
}

/* ---- Waiting ---- */

static void
note_signal(int number)
{
    int saved = errno;
    if (number == SIGTSTP)
        stop = 1;
    else if (number == SIGWINCH || number == SIGCONT)
        paint = 1;
    else
        quit = 1;
    ssize_t written = write(wake[1], "", 1);
    (void)written;
    errno = saved;
}

void
pm_screen_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH, SIGCONT};
    struct sigaction action = {.sa_handler = note_signal}, before;
    if (wake[0] >= 0)
        return;
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        pm_command_fail(PM_STATUS_NO_OUTPUT, "cannot make a pipe: %s", strerror(errno));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        bool ignored = sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (!ignored) /* by nohup or a shell without job control, which mean it */
            sigaction(numbers[i], &action, NULL);
    }
}

/* The command stops as it would have, with the terminal in order meanwhile. */
static void
stop_here(void)
{
    bool was_open = is_open;
    stop = 0;
    if (was_open)
        leave();
    raise(SIGSTOP);
    if (was_open)
        enter();
    paint = 1;
}

static void
read_keys(void)
{
    char bytes[64];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN))
        has_keys = false; /* the terminal is gone */
    for (ssize_t i = 0; i < count; i++)
        if (bytes[i] == 'q' || bytes[i] == 'Q')
            quit = 1;
}

enum pm_screen_event
pm_screen_wait(double end, int file)
{
    char bytes[64];
    struct pollfd files[] = {{wake[0], POLLIN, 0}, {file, POLLIN, 0}, {-1, POLLIN, 0}};
    for (;;) {
        if (quit)
            return PM_SCREEN_QUIT;
        if (stop)
            stop_here();
        if (paint && is_open) {
            paint = 0;
            if (!has_keys) /* it may have come from the background */
                take_keys();
            return PM_SCREEN_PAINT;
        }
        double left = end - pm_command_seconds();
        if (left <= 0)
            return PM_SCREEN_TIME;
        files[2].fd = has_keys ? STDIN_FILENO : -1;
        struct timespec time = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        if (ppoll(files, 3, &time, NULL) <= 0)
            continue;
        while (files[0].revents != 0 && read(wake[0], bytes, sizeof bytes) > 0)
            continue;
        if (files[2].revents != 0)
            read_keys();
        if (files[1].revents != 0)
            return PM_SCREEN_TIME;
    }
}
