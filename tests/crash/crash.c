/* SPDX-License-Identifier: MIT
 *
 * Misuse ends the program with SIGABRT and one line on stderr that names the call, the pointer and what is wrong with
 * it. Both are compared exactly: a test that accepts any failure also accepts a program that was not found.
 */
#include "support/check.h"
#include "support/run.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define ALREADY_FREE "the block is already free (double free)"
#define FREE_POOL "no block is in use there, its pool is free (double free or dangling pointer)"
#define ON_STACK "an address on a stack"
#define MISALIGNED "not aligned as a block is"
#define LATER ", found when it returned to its pool"

static const char *const by_default[] = {NULL};
static const char *const checking[] = {"POOLMALLOC_CHECK=1", NULL};
static const char *const compact[] = {"POOLMALLOC_ALIGNMENT=8", NULL};
static const char *const small_region[] = {"POOLMALLOC_REGION=16M", NULL};

static void
run_case(struct run *run, const char *program, const char *name, const char *const *environment)
{
    const char *command[] = {program, name, NULL};
    *run = (struct run){.command = command, .environment = environment};
    run_program(run);
}

/* Runs `program name`. It must write "<pointer> <block>" to stdout, `rest` after it, then die with `call`(<pointer>)
 * and `what`, in which a %s stands for the block. */
static void
dies_writing(const char *program, const char *name, const char *const *environment, const char *call, const char *what,
             const char *rest)
{
    struct run run;
    char pointer[32];
    char block[32];
    int used = 0;
    run_case(&run, program, name, environment);
    REQUIRE(sscanf(run.output, "%31s %31s\n%n", pointer, block, &used) == 2, "%s %s and wrote: %s%s", name,
            run_ending(&run), run.output, run.errors);
    REQUIRE(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s %s and wrote: %s", name, run_ending(&run),
            run.errors);
    REQUIRE(strcmp(run.output + used, rest) == 0, "%s wrote to stdout: %s", name, run.output);

    char expected[400];
    size_t length = (size_t)snprintf(expected, sizeof expected, "poolmalloc: %s(%s): ", call, pointer);
    const char *place = strstr(what, "%s");
    size_t before = place != NULL ? (size_t)(place - what) : strlen(what);
    snprintf(expected + length, sizeof expected - length, "%.*s%s%s\n", (int)before, what, place != NULL ? block : "",
             place != NULL ? place + 2 : "");
    REQUIRE(strcmp(run.errors, expected) == 0, "%s wrote: %s instead of: %s", name, run.errors, expected);
}

static void
dies(const char *name, const char *const *environment, const char *call, const char *what)
{
    dies_writing(PROGRAM_misuse_std, name, environment, call, what, "");
    dies_writing(PROGRAM_misuse_pm, name, environment, call, what, "");
}

/* In every mode alike. */
static void
always_dies(const char *name, const char *call, const char *what)
{
    dies(name, by_default, call, what);
    dies(name, checking, call, what);
    dies(name, compact, call, what);
}

/* Twice in a row is seen at once in every mode, by each of its names. */
Test(crash, double_free)
{
    always_dies("double_free", "free", ALREADY_FREE);
    dies("double_free_and_two_requests", by_default, "free", ALREADY_FREE);
    dies("double_free_and_two_requests", checking, "free", FREE_POOL);
    always_dies("double_free_sized", "free", ALREADY_FREE);
    always_dies("double_free_by_realloc", "free", ALREADY_FREE);
}

Test(crash, double_free_with_another_in_between)
{
    dies("double_free_later", checking, "free", ALREADY_FREE);
    dies("double_free_later", by_default, "free", ALREADY_FREE LATER);
    dies("double_free_later", compact, "free", ALREADY_FREE LATER);
}

Test(crash, double_free_in_two_threads)
{
    dies("double_free_in_two_threads", checking, "free", ALREADY_FREE);
    dies("double_free_in_two_threads", by_default, "free", ALREADY_FREE LATER);
}

Test(crash, middle_of_a_block)
{
    dies("inside", checking, "free", "points 24 bytes into the 48-byte block at %s");
    dies("inside", by_default, "free", "points 24 bytes into the 48-byte block at %s" LATER);
    always_dies("inside_last_byte", "free", "points 511 bytes into the 512-byte block at %s");
    always_dies("inside_by_one_byte", "free", "points 1 bytes into the 48-byte block at %s");
    always_dies("realloc_inside", "realloc", "points 24 bytes into the 48-byte block at %s");
    always_dies("usable_size_inside", "malloc_usable_size", "points 24 bytes into the 48-byte block at %s");
}

Test(crash, behind_the_last_block_of_a_pool)
{
    dies("behind_the_last_block", checking, "free", "points behind the last block of its pool");
    dies("behind_the_last_block", by_default, "free", "points behind the last block of its pool" LATER);
}

Test(crash, a_pool_that_is_free)
{
    always_dies("free_in_free_pool", "free", FREE_POOL);
    always_dies("realloc_in_free_pool", "realloc", FREE_POOL);
    always_dies("usable_size_in_free_pool", "malloc_usable_size", FREE_POOL);
}

Test(crash, an_address_where_the_region_is_not_in_use)
{
    always_dies("wild_behind", "free", FREE_POOL);
    always_dies("wild_in_front", "free", FREE_POOL);
}

Test(crash, an_address_on_the_stack)
{
    always_dies("stack_of_main_thread", "free", ON_STACK);
    always_dies("stack_before_anything_else", "free", ON_STACK);
#if defined(__GLIBC__) && defined(__x86_64__) /* elsewhere it is not proven to be one */
    always_dies("stack_of_other_thread", "free", ON_STACK);
#endif
}

Test(crash, an_address_no_allocator_returns)
{
    always_dies("misaligned_static", "free", MISALIGNED);
    always_dies("misaligned_large", "free", MISALIGNED);
}

/* Blocks just above the pools wait in magazines too, and are recognised there at once. */
Test(crash, double_free_of_a_kept_system_block)
{
    dies("double_free_600", by_default, "free", ALREADY_FREE);
    dies("double_free_1000", by_default, "free", ALREADY_FREE);
    dies("double_free_800_later", by_default, "free", ALREADY_FREE);
}

/* Its blocks above that are judged by the system allocator, which has words for it. The library must not look into them
 * before: it would be the one that crashes. */
static void
system_judges(const char *name, const char *const *environment)
{
    struct run run;
    run_case(&run, PROGRAM_misuse_std, name, environment);
    REQUIRE(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s %s and wrote: %s", name, run_ending(&run),
            run.errors);
    REQUIRE(strstr(run.errors, "double free") != NULL, "%s wrote: %s", name, run.errors);
}

Test(crash, double_free_of_a_system_block)
{
    dies("double_free_4096", by_default, "free", ALREADY_FREE);
    system_judges("double_free_4096", checking);
    system_judges("double_free_30000", by_default);
    system_judges("double_free_30000", checking);
}

Test(crash, a_handler_of_sigabrt_may_allocate)
{
    dies_writing(PROGRAM_misuse_std, "double_free_with_handler", checking, "free", ALREADY_FREE, "handler\n");
    dies_writing(PROGRAM_misuse_std, "double_free_with_handler", by_default, "free", ALREADY_FREE, "handler\n");
    dies_writing(PROGRAM_misuse_pm, "double_free_with_handler", checking, "free", ALREADY_FREE, "handler\n");
}

#ifdef PROGRAM_misuse_delete
static void
deletes(const char *name, const char *const *environment, const char *what)
{
    dies_writing(PROGRAM_misuse_delete, name, environment, "free", what, "");
}

Test(crash, operator_delete)
{
    deletes("double_delete", checking, ALREADY_FREE);
    deletes("double_delete", by_default, ALREADY_FREE);
    deletes("double_delete_array", checking, ALREADY_FREE);
    deletes("double_delete_array", by_default, ALREADY_FREE);
    deletes("delete_inside", checking, "points 24 bytes into the 48-byte block at %s");
    deletes("delete_inside", by_default, "points 24 bytes into the 48-byte block at %s" LATER);
    deletes("delete_in_free_pool", by_default, FREE_POOL);
    deletes("delete_in_free_pool", checking, FREE_POOL);
    deletes("delete_stack", by_default, ON_STACK);
    deletes("delete_misaligned", by_default, MISALIGNED);
}
#endif

/* The counterpart: correct programs are left alone, and a driver that cannot run its program notices. */
Test(crash, correct_programs_live)
{
    const char *const *const environments[] = {by_default, checking, compact, small_region};
    const char *const programs[] = {PROGRAM_misuse_std, PROGRAM_misuse_pm};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            struct run run;
            run_case(&run, programs[j], "innocent", environments[i]);
            require_clean_run(&run, "", "");
        }
    struct run run;
    run_case(&run, PROGRAM_misuse_std, "no_such_case", by_default);
    REQUIRE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 2, "an unknown case %s", run_ending(&run));
}
