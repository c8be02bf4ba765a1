/* SPDX-License-Identifier: MIT
 *
 * When and where the dump goes that the environment asks for: at exit, on a signal; on the stderr of the start, or to a
 * file. A file that is named as a descriptor (/dev/stdout, /dev/fd/3) is that descriptor of the start.
 *
 * stderr at exit is often closed (coreutils), or its number belongs to another file by then. So the descriptor is kept
 * under another number from the start on, and nothing is written unless it is still the same open file.
 *
 * A copy keeps a pipe open, and somebody may wait for its end. A program in the foreground ends when that somebody
 * expects it; a child that it leaves behind does not: forked children keep nothing but a regular file.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "process.h"
#include "stats.h"
#include "text.h"

/* A descriptor of the start. */
struct stream {
    int number;
    int kept; /* a second number of it, or -1 */
    bool open;
    struct pm_os_file file;
};

static long start_pid; /* 0: nobody asked for statistics when the library started */
static struct stream errors = {.number = 2, .kept = -1};
static struct stream output = {.number = -1, .kept = -1};

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

/* The number of a descriptor that is named as a file, -1 for another name. Such a name is a symbolic link, and opening
 * it would empty the file behind it, or fail for a socket. */
static int
named_descriptor(const char *path)
{
    static const char *const prefixes[] = {"/dev/fd/", "/proc/self/fd/"};
    if (strcmp(path, "/dev/stdout") == 0)
        return 1;
    if (strcmp(path, "/dev/stderr") == 0)
        return 2;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        const char *digit = path + strlen(prefixes[i]);
        int number = 0;
        if (strncmp(path, prefixes[i], strlen(prefixes[i])) != 0 || *digit == '\0')
            continue;
        for (; *digit >= '0' && *digit <= '9' && number < 100000; digit++)
            number = number * 10 + (*digit - '0');
        if (*digit == '\0')
            return number;
    }
    return -1;
}

/* The descriptor that the options ask for, -1 for a file. */
static int
wanted_descriptor(void)
{
    return pm_options.stats_file[0] == '\0' ? 2 : named_descriptor(pm_options.stats_file);
}

static void
note(struct stream *stream, int number)
{
    stream->number = number;
    stream->open = pm_os_identify(number, &stream->file);
}

static bool
is_file_of(const struct stream *stream, int fd)
{
    struct pm_os_file file;
    return pm_os_identify(fd, &file) && memcmp(&file, &stream->file, sizeof file) == 0;
}

/* What the stream was when the process started, -1 when it is gone. */
static int
descriptor_of(const struct stream *stream)
{
    if (!stream->open)
        return -1;
    return is_file_of(stream, stream->kept) ? stream->kept : is_file_of(stream, stream->number) ? stream->number : -1;
}

static void
complain(const char *path, const char *problem)
{
    struct pm_text text;
    int fd = start_pid == 0 ? 2 : descriptor_of(&errors);
    if (fd < 0)
        return;
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc: cannot write statistics to ");
    pm_text_string(&text, path);
    pm_text_string(&text, problem != NULL ? ": " : "");
    pm_text_string(&text, problem != NULL ? problem : "");
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
}

static void
dump_to_file(bool json, bool ask_system)
{
    char path[PM_OPTION_PATH_MAX + 64];
    const char *problem;
    expand(path, sizeof path, pm_options.stats_file);
    int fd = pm_os_create(path, &problem);
    if (fd < 0) {
        complain(path, problem);
        return;
    }
    pm_stats_dump(fd, json, ask_system);
    pm_os_close(fd);
}

static void
dump(bool ask_system)
{
    bool json = pm_options.stats == PM_STATS_JSON;
    int number = wanted_descriptor();
    /* That nobody reads its statistics must not end a program. */
    struct pm_os_pipe_guard guard = pm_os_guard_pipe();
    if (number < 0) {
        dump_to_file(json, ask_system);
    } else {
        int fd = start_pid == 0 ? number : descriptor_of(&output);
        if (fd >= 0)
            pm_stats_dump(fd, json, ask_system);
        else if (number != 2 && !output.open)
            complain(pm_options.stats_file, "it was not open when the program started");
    }
    pm_os_unguard_pipe(guard);
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

static void
drop_in_child(void)
{
    if (!output.file.regular && is_file_of(&output, output.kept))
        pm_os_close(output.kept);
    output.kept = output.file.regular ? output.kept : -1;
}

__attribute__((constructor)) static void
start(void)
{
    pm_process_start(); /* reads the options if nothing has yet */
    if (pm_options.stats == PM_STATS_OFF && pm_options.stats_signal == 0)
        return;
    start_pid = pm_os_pid();
    note(&errors, 2);
    if (wanted_descriptor() >= 0)
        note(&output, wanted_descriptor());
    if (output.open) {
        output.kept = pm_os_keep(output.number);
        pthread_atfork(NULL, NULL, drop_in_child);
    }
    if (pm_options.stats_signal != 0)
        pm_os_on_signal((int)pm_options.stats_signal, dump_on_signal);
}
