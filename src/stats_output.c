/* SPDX-License-Identifier: MIT
 *
 * When and where the dump goes that the environment asks for: at exit, on a signal; on the stderr of the start, or to a
 * file.
 *
 * stderr at exit is often closed (coreutils), or its number belongs to another file by then. So the descriptor is kept
 * under another number from the start on, and nothing is written unless it is still the same open file.
 */
#include <stdatomic.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "process.h"
#include "stats.h"
#include "text.h"

static long start_pid; /* 0: nobody asked for statistics when the library started */
static int kept = -1;
static struct pm_os_file kept_file;
static bool have_stderr;

/* ---- Where ---- */

static size_t
append_pid(char *path, size_t length)
{
    char digits[20];
    size_t count = 0;
    for (unsigned long pid = (unsigned long)pm_os_pid(); pid != 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count != 0)
        path[length++] = digits[--count];
    return length;
}

/* `pattern` with %p replaced by the process number. A forked child whose pattern has none gets ".number" behind the
 * name: the file without it is its parent's. */
static void
expand(char *path, size_t size, const char *pattern)
{
    size_t length = 0;
    bool replaced = false;
    for (; *pattern != '\0' && length + 2 * 21 < size; pattern++) {
        if (pattern[0] != '%' || pattern[1] != 'p') {
            path[length++] = *pattern;
            continue;
        }
        length = append_pid(path, length);
        replaced = true;
        pattern++;
    }
    if (!replaced && start_pid != 0 && pm_os_pid() != start_pid) {
        path[length++] = '.';
        length = append_pid(path, length);
    }
    path[length] = '\0';
}

static bool
is_kept_file(int fd)
{
    struct pm_os_file file;
    return pm_os_identify(fd, &file) && memcmp(&file, &kept_file, sizeof file) == 0;
}

/* The stderr that the process started with, -1 when it is gone. */
static int
first_stderr(void)
{
    if (start_pid == 0)
        return 2;
    if (!have_stderr)
        return -1;
    return is_kept_file(kept) ? kept : is_kept_file(2) ? 2 : -1;
}

static void
complain(const char *path)
{
    struct pm_text text;
    int fd = first_stderr();
    if (fd < 0)
        return;
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc: cannot write statistics to ");
    pm_text_string(&text, path);
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
}

static void
dump(bool ask_system)
{
    char path[PM_OPTION_PATH_MAX + 64];
    bool json = pm_options.stats == PM_STATS_JSON;
    if (pm_options.stats_file[0] == '\0') {
        int fd = first_stderr();
        if (fd < 0)
            return;
        /* That nobody reads its statistics must not end a program. */
        struct pm_os_pipe_guard guard = pm_os_guard_pipe();
        pm_stats_dump(fd, json, ask_system);
        pm_os_unguard_pipe(guard);
        return;
    }
    expand(path, sizeof path, pm_options.stats_file);
    int fd = pm_os_create(path);
    if (fd < 0) {
        complain(path);
        return;
    }
    pm_stats_dump(fd, json, ask_system);
    pm_os_close(fd);
}

/* ---- When ---- */

void
pm_stats_at_exit(void)
{
    if (pm_options.stats != PM_STATS_OFF)
        dump(true);
}

/* Signals that come while a dump is written, to other threads, make one more dump together. The process that is at it
 * is noted, for a child that is forked meanwhile has nobody at it. */
static void
dump_on_signal(void)
{
    static atomic_long dumping;
    static atomic_bool again;
    long pid = pm_os_pid();
    atomic_store(&again, true);
    while (atomic_load(&again)) {
        if (atomic_exchange(&dumping, pid) == pid)
            return;
        atomic_store(&again, false);
        dump(false);
        atomic_store(&dumping, 0);
    }
}

__attribute__((constructor)) static void
start(void)
{
    pm_process_start(); /* reads the options if nothing has yet */
    if (pm_options.stats == PM_STATS_OFF && pm_options.stats_signal == 0)
        return;
    start_pid = pm_os_pid();
    have_stderr = pm_os_identify(2, &kept_file);
    if (have_stderr && pm_options.stats_file[0] == '\0')
        kept = pm_os_keep(2);
    if (pm_options.stats_signal != 0)
        pm_os_on_signal((int)pm_options.stats_signal, dump_on_signal);
}
