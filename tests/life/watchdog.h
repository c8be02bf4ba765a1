/* SPDX-License-Identifier: MIT
 *
 * For programs that may hang: after so many seconds a line says how far the program came, and it ends. In a child the
 * parent's counter is shown, as it was at the fork.
 */
#ifndef LIFE_WATCHDOG_H
#define LIFE_WATCHDOG_H

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_long watched; /* what the program counts */

static void
watchdog_bites(int signal)
{
    char line[] = "hangs; done before: ..........\n";
    long count = atomic_load(&watched);
    for (char *digit = line + sizeof line - 3; *digit == '.'; digit--, count /= 10)
        *digit = (char)('0' + count % 10);
    (void)!write(STDERR_FILENO, line, sizeof line - 1);
    _exit(128 + signal);
}

static inline void
watchdog_start(unsigned seconds)
{
    signal(SIGALRM, watchdog_bites);
    alarm(seconds);
}

#endif
