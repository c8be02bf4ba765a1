/* SPDX-License-Identifier: MIT
 *
 * Programs that must die: `misuse <case>` writes the pointer in question (and the block it lies in) to stdout and then
 * does what the case is named after. It is built for the standard names and for pm_*.
 *
 * Nothing is allocated between the steps of a case, so that a block freed too often is not handed out again in between.
 */
#include "support/names.h"

#include <poolmalloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 2000, SIZE = 48 };

static unsigned char *many[MANY];

static void
say(const void *pointer, const void *block)
{
    char text[100];
    int used = snprintf(text, sizeof text, "%p %p\n", pointer, block);
    if (write(STDOUT_FILENO, text, (size_t)used) != used)
        _exit(3);
}

static void
take_many(size_t size)
{
    for (int i = 0; i < MANY; i++) {
        many[i] = mem.malloc(size);
        memset(many[i], 1, size);
    }
}

/* Frees all but the first, which pushes what was freed before out of the magazine. */
static void
free_the_others(void)
{
    for (int i = 1; i < MANY; i++)
        mem.free(many[i]);
}

static void
double_free(void)
{
    take_many(SIZE);
    say(many[0], many[0]);
    mem.free(many[0]);
    mem.free(many[0]);
    free_the_others();
}

/* Another block is freed in between, so that the first free is not the last one. */
static void
double_free_later(void)
{
    take_many(SIZE);
    say(many[0], many[0]);
    mem.free(many[0]);
    mem.free(many[1]);
    mem.free(many[0]);
    for (int i = 2; i < MANY; i++)
        mem.free(many[i]);
}

/* What a program does that frees twice and goes on: both blocks would be the same one. */
static void
double_free_and_two_requests(void)
{
    void *volatile block = mem.malloc(40);
    say(block, block);
    mem.free(block);
    mem.free(block);
    void *first = mem.malloc(40), *second = mem.malloc(40);
    if (first == second)
        _exit(4);
}

static void *
free_first(void *unused)
{
    (void)unused;
    mem.free(many[0]);
    return NULL;
}

static void
double_free_in_two_threads(void)
{
    pthread_t thread;
    take_many(SIZE);
    pthread_create(&thread, NULL, free_first, NULL);
    pthread_join(thread, NULL);
    say(many[0], many[0]);
    mem.free(many[0]);
    free_the_others();
}

static void
double_free_sized(void)
{
    take_many(SIZE);
    say(many[0], many[0]);
    mem.free_sized(many[0], SIZE);
    mem.free_aligned_sized(many[0], 16, SIZE);
    free_the_others();
}

static void
double_free_by_realloc(void)
{
    take_many(SIZE);
    say(many[0], many[0]);
    mem.free(many[0]);
    if (mem.realloc(many[0], 0) != NULL)
        _exit(3);
    free_the_others();
}

static void
inside(void)
{
    take_many(SIZE);
    say(many[0] + 24, many[0]);
    mem.free(many[0] + 24);
    free_the_others();
}

static void
inside_last_byte(void)
{
    take_many(512);
    say(many[0] + 511, many[0]);
    mem.free(many[0] + 511);
    free_the_others();
}

static void
inside_by_one_byte(void)
{
    take_many(SIZE);
    say(many[0] + 1, many[0]);
    mem.free(many[0] + 1);
}

/* 48 does not divide 4096: the last 16 bytes of a pool belong to no block. */
static void
behind_the_last_block(void)
{
    take_many(SIZE);
    unsigned char *pool = (unsigned char *)((uintptr_t)many[MANY / 2] & ~(uintptr_t)4095);
    say(pool + 4080, pool);
    mem.free(pool + 4080);
    free_the_others();
}

/* Leaves many[MANY / 2] in a pool that is free. */
static void
make_free_pools(void)
{
    take_many(SIZE);
    for (int i = 0; i < MANY; i++)
        mem.free(many[i]);
    mem.trim(0);
    say(many[MANY / 2], NULL);
}

static void
free_in_free_pool(void)
{
    make_free_pools();
    mem.free(many[MANY / 2]);
}

static void
realloc_in_free_pool(void)
{
    make_free_pools();
    if (mem.realloc(many[MANY / 2], 100) != NULL)
        _exit(3);
}

static void
usable_size_in_free_pool(void)
{
    make_free_pools();
    if (mem.usable_size(many[MANY / 2]) != 0)
        _exit(3);
}

static void
realloc_inside(void)
{
    take_many(SIZE);
    say(many[0] + 24, many[0]);
    if (mem.realloc(many[0] + 24, 100) != NULL)
        _exit(3);
}

static void
usable_size_inside(void)
{
    take_many(SIZE);
    say(many[0] + 24, many[0]);
    if (mem.usable_size(many[0] + 24) != 0)
        _exit(3);
}

static void *
free_stack(void *unused)
{
    _Alignas(16) volatile char local[64] = {0};
    void *volatile address = (void *)&local[16];
    (void)unused;
    say(address, NULL);
    mem.free(address);
    return NULL;
}

static void
stack_of_main_thread(void)
{
    mem.free(mem.malloc(SIZE));
    free_stack(NULL);
}

static void
stack_before_anything_else(void)
{
    free_stack(NULL);
}

static void
stack_of_other_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, free_stack, NULL);
    pthread_join(thread, NULL);
}

/* Far from every block, where the region is reserved and not in use: behind the arenas, and in front of them. */
static void
wild(ptrdiff_t distance)
{
    char *block = mem.malloc(SIZE);
    say(block + distance, NULL);
    mem.free(block + distance);
}

static void
wild_behind(void)
{
    wild((ptrdiff_t)64 << 20);
}

static void
wild_in_front(void)
{
    wild(-((ptrdiff_t)1 << 20));
}

static void
misaligned_static(void)
{
    static _Alignas(16) char data[64];
    say(data + 17, NULL);
    mem.free(data + 17);
}

static void
misaligned_large(void)
{
    char *block = mem.malloc(100000);
    say(block + 8, NULL);
    mem.free(block + 8);
}

static void
free_twice(size_t size)
{
    take_many(size);
    say(many[0], NULL);
    mem.free(many[0]);
    mem.free(many[0]);
    free_the_others();
}

static void
double_free_600(void)
{
    free_twice(600);
}

static void
double_free_1000(void)
{
    free_twice(1000);
}

/* Its block lies at the end of libc's heap, where there is nothing behind it once it is free. */
static void
free_large_twice(size_t size)
{
    void *volatile block = mem.malloc(size);
    say(block, NULL);
    mem.free(block);
    mem.free(block);
}

static void
double_free_4096(void)
{
    free_large_twice(4096);
}

static void
double_free_30000(void)
{
    free_large_twice(30000);
}

/* The first free is some frees ago: the block is not the last one in the magazine. */
static void
double_free_800_later(void)
{
    take_many(800);
    say(many[0], NULL);
    mem.free(many[0]);
    for (int i = 1; i < 6; i++)
        mem.free(many[i]);
    mem.free(many[0]);
}

/* A program that catches SIGABRT may use the heap in its handler, and dies of the signal all the same. */
static void
use_heap(int signal)
{
    (void)signal;
    for (size_t size = 1; size < 2000; size += 13)
        mem.free(mem.malloc(size));
    if (write(STDOUT_FILENO, "handler\n", 8) != 8)
        _exit(3);
}

static void
double_free_with_handler(void)
{
    signal(SIGABRT, use_heap);
    double_free();
}

/* Nothing is wrong here: what a freed block holds must not make a later free of the same address suspicious. */
static void
innocent(void)
{
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 50; i++)
            many[i] = mem.malloc(520 + (size_t)(i % 30) * 16);
        for (int i = round % 2 == 0 ? 0 : 49; i >= 0 && i < 50; i += round % 2 == 0 ? 1 : -1)
            mem.free(many[i]);
    }
}

static const struct {
    const char *name;
    void (*commit)(void);
} cases[] = {
    {"double_free", double_free},
    {"double_free_later", double_free_later},
    {"double_free_and_two_requests", double_free_and_two_requests},
    {"double_free_in_two_threads", double_free_in_two_threads},
    {"double_free_sized", double_free_sized},
    {"double_free_by_realloc", double_free_by_realloc},
    {"inside", inside},
    {"inside_last_byte", inside_last_byte},
    {"inside_by_one_byte", inside_by_one_byte},
    {"behind_the_last_block", behind_the_last_block},
    {"free_in_free_pool", free_in_free_pool},
    {"realloc_in_free_pool", realloc_in_free_pool},
    {"usable_size_in_free_pool", usable_size_in_free_pool},
    {"realloc_inside", realloc_inside},
    {"usable_size_inside", usable_size_inside},
    {"stack_of_main_thread", stack_of_main_thread},
    {"stack_before_anything_else", stack_before_anything_else},
    {"stack_of_other_thread", stack_of_other_thread},
    {"wild_behind", wild_behind},
    {"wild_in_front", wild_in_front},
    {"misaligned_static", misaligned_static},
    {"misaligned_large", misaligned_large},
    {"double_free_600", double_free_600},
    {"double_free_1000", double_free_1000},
    {"double_free_4096", double_free_4096},
    {"double_free_30000", double_free_30000},
    {"double_free_800_later", double_free_800_later},
    {"double_free_with_handler", double_free_with_handler},
    {"innocent", innocent},
};

int
main(int count, char **arguments)
{
    for (size_t i = 0; count == 2 && i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(arguments[1], cases[i].name) == 0) {
            cases[i].commit();
            return 0;
        }
    return 2;
}
