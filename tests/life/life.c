/* SPDX-License-Identifier: MIT
 *
 * Runs the programs of this folder: each checks itself and exits with 0; those that say what they do in which order are
 * compared with what is expected.
 */
#include "support/check.h"
#include "support/run.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void
expect(const char *const *command, const char *const *environment, const char *output)
{
    struct run run = {.command = command, .environment = environment};
    run_program(&run);
    require_clean_run(&run, output, "");
}

static const char *const checking[] = {"POOLMALLOC_CHECK=1", NULL};

/* ---- From before main to after exit ---- */

#define START "preinit\nlibrary constructor\nconstructor 101\nconstructor\nmain\n"
#define HANDLERS "atexit first\natexit in atexit\non_exit\natexit\n"
#define END "destructor\ndestructor 101\nlibrary destructor\n"

static void
stages(const char *how, const char *output)
{
    const char *const shared[] = {PROGRAM_stages, how, NULL};
    const char *const linked[] = {PROGRAM_stages_static, how, NULL};
    expect(shared, NULL, output);
    expect(shared, checking, output);
    expect(linked, NULL, output);
    expect(linked, checking, output);
}

Test(life, the_heap_works_at_every_stage)
{
    stages("return", START HANDLERS END);
}

Test(life, quick_exit)
{
    stages("quick_exit", START "at_quick_exit\n");
    stages("_exit", START);
}

Test(life, the_process_outlives_the_main_thread)
{
    stages("pthread_exit", START "key destructor of main\nthread after main\n" HANDLERS END);
}

Test(life, a_thread_ends_the_process)
{
    stages("thread", START "thread\n" HANDLERS END);
}

/* ---- Libraries that come and go ---- */

Test(life, plugins_use_the_heap_in_constructors_and_destructors)
{
    char output[6000] = "";
    size_t used = 0;
    for (int i = 0; i < 6 * 20; i++)
        used += (size_t)snprintf(output + used, sizeof output - used, "library constructor\nlibrary destructor\n");
    const char *const command[] = {PROGRAM_plugin_host, PROGRAM_library_with_constructor, NULL};
    expect(command, NULL, output);
}

Test(life, the_library_is_opened_late)
{
    const char *const local[] = {PROGRAM_late_open, PROGRAM_poolmalloc, "local", NULL};
    const char *const global[] = {PROGRAM_late_open, PROGRAM_poolmalloc, "global", NULL};
    expect(local, NULL, "");
    expect(global, NULL, "");
    expect(local, checking, "");
}

static void
exchange_with_plugin(const char *how, const char *setting)
{
    const char *const command[] = {PROGRAM_deepbind, PROGRAM_plugin, how, NULL};
    const char *const environment[] = {"LD_PRELOAD=" PROGRAM_poolmalloc, setting, NULL};
    expect(command, environment, "");
}

Test(life, plugins_bound_deep_share_the_heap)
{
    exchange_with_plugin(NULL, NULL);
    exchange_with_plugin(NULL, "POOLMALLOC_CHECK=1");
    exchange_with_plugin(NULL, "POOLMALLOC_DEEPBIND=0");
    exchange_with_plugin("kept", "POOLMALLOC_DEEPBIND=1");
}

/* ---- C++, signals ---- */

#ifdef PROGRAM_cpp_program
Test(life, cpp_programs)
{
    const char *const shared[] = {PROGRAM_cpp_program, NULL};
    const char *const linked[] = {PROGRAM_cpp_program_static, NULL};
    const char *const output = "caught 800\ndestroyed with 34650 items\n";
    expect(shared, NULL, output);
    expect(shared, checking, output);
    expect(linked, NULL, output);
}
#endif

Test(life, signals_are_left_alone)
{
    const char *const command[] = {PROGRAM_signals, NULL};
    expect(command, NULL, "");
}
