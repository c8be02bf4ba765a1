/* SPDX-License-Identifier: MIT */
#include "purge_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "options.h"
#include "os.h"
#include "process.h"
#include "purge.h"
#include "text.h"

/* Milliseconds. Longer than a period: whatever happens while it waits is seen when it wakes, or stirs it after that. */
#define PAUSE (PM_PURGE_PERIOD + 10)

static atomic_uint stirred; /* since the thread last looked */

static void *
work(void *unused)
{
    for (;;) {
        atomic_store(&stirred, 0);
        pm_os_sleep(PAUSE);
        bool unfinished = pm_purge_age(pm_os_milliseconds());
        while (!unfinished && atomic_load(&stirred) == 0)
            pm_os_wait(&stirred, 0);
    }
    return unused;
}

static void
start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool failed = pthread_create(&thread, &attributes, work, NULL) != 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) {
        struct pm_text text;
        pm_text_start(&text, 2);
        pm_text_string(&text, "poolmalloc: the purge thread cannot be started\n");
        pm_text_flush(&text);
    }
}

/* The fork may have come from a signal handler that interrupted a change to this thread's magazines: what starting a
 * thread allocates must not come from them. */
static void
start_in_child(void)
{
    struct pm_heap *heap = pm_heap_current;
    pm_heap_current = &pm_heap_late;
    start();
    pm_heap_current = heap;
}

/* Not with the first request that needs it: that may come from within pthread_create or while libc holds a lock. */
__attribute__((constructor)) static void
start_early(void)
{
    pm_process_start();
    if (!pm_options.purge_thread || pm_options.purge == PM_PURGE_NEVER)
        return;
    int saved = errno;
    start();
    pthread_atfork(NULL, NULL, start_in_child);
    errno = saved;
}

void
pm_purge_thread_stir(void)
{
    if (atomic_exchange(&stirred, 1) == 0)
        pm_os_wake(&stirred);
}
