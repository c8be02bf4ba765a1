/* SPDX-License-Identifier: MIT
 *
 * The heap from before main to after exit: .preinit_array, constructors of a library and of the program, main, handlers
 * of every kind, destructors. The argument says how the process ends. Linked once to the shared and once to the static
 * library.
 */
#include "stage.h"
#include "support/check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
before_constructors(void)
{
    stage("preinit");
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_constructors;

__attribute__((constructor(101))) static void
first_constructor(void)
{
    stage("constructor 101");
}

__attribute__((constructor)) static void
constructor(void)
{
    stage("constructor");
}

__attribute__((destructor)) static void
destructor(void)
{
    stage("destructor");
}

__attribute__((destructor(101))) static void
last_destructor(void)
{
    stage("destructor 101");
}

static void
at_exit(void)
{
    stage("atexit");
}

static void
registered_in_a_handler(void)
{
    stage("atexit in atexit");
}

static void
at_exit_first(void)
{
    stage("atexit first");
    atexit(registered_in_a_handler);
}

static void
on_exit_handler(int status, void *block)
{
    stage(status == 0 ? "on_exit" : "on_exit with a wrong status");
    free(block);
}

static void
at_quick_exit_handler(void)
{
    stage("at_quick_exit");
}

/* ---- pthread_exit from main: the process goes on in another thread, and ends with it ---- */

static pthread_t main_thread;
static pthread_key_t key;

static void
destroy_key(void *block)
{
    free(block);
    stage("key destructor of main");
}

static void *
outlive_main(void *unused)
{
    (void)unused;
    pthread_join(main_thread, NULL);
    stage("thread after main");
    return NULL;
}

static void
leave_main_to_a_thread(void)
{
    pthread_t thread;
    main_thread = pthread_self();
    pthread_key_create(&key, destroy_key);
    pthread_setspecific(key, malloc(100));
    REQUIRE(pthread_create(&thread, NULL, outlive_main, NULL) == 0, "no thread");
    pthread_detach(thread);
    pthread_exit(NULL);
}

static void *
exit_here(void *unused)
{
    (void)unused;
    stage("thread");
    exit(0);
}

int
main(int count, char **arguments)
{
    const char *how = count == 2 ? arguments[1] : "";
    pthread_t thread;
    require_pools_in_use();
    stage("main");
    atexit(at_exit);
    on_exit(on_exit_handler, malloc(100));
    atexit(at_exit_first);
    at_quick_exit(at_quick_exit_handler);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "pthread_exit") == 0)
        leave_main_to_a_thread();
    if (strcmp(how, "thread") == 0) {
        REQUIRE(pthread_create(&thread, NULL, exit_here, NULL) == 0, "no thread");
        pthread_join(thread, NULL);
    }
    return 0;
}
