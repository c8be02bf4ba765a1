/* SPDX-License-Identifier: MIT */
#include "purge_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "os.h"
#include "purge.h"
#include "text.h"

/* Milliseconds. Longer than a period: whatever happens while it waits is seen when it wakes, or stirs it after that. */
#define PAUSE (PM_PURGE_PERIOD + 10)

static atomic_uint started; /* in this process */
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
after_fork_in_child(void)
{
    atomic_store(&started, 0);
}

static int
start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

void
pm_purge_thread_stir(void)
{
    if (atomic_exchange(&stirred, 1) == 0)
        pm_os_wake(&stirred);
    if (atomic_exchange(&started, 1) != 0)
        return;
    static atomic_uint registered;
    int saved = errno;
    if (atomic_exchange(&registered, 1) == 0)
        pthread_atfork(NULL, NULL, after_fork_in_child);
    if (start() != 0) {
        struct pm_text text;
        pm_text_start(&text, 2);
        pm_text_string(&text, "poolmalloc: the purge thread cannot be started\n");
        pm_text_flush(&text);
    }
    errno = saved;
}
