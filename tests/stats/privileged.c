/* SPDX-License-Identifier: MIT
 *
 * Says on stdout what the environment can change about poolmalloc in this process, a number in each line, and whether
 * the process runs with more rights than its caller. privileged.py makes this program setuid.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "poolmalloc.h"

enum { BLOCKS = 40000, SIZE = 100, CLASS = 112 / 8 - 1 };

static int
thread_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

static int
has_handler(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_sigaction != NULL;
}

int
main(void)
{
    static void *volatile blocks[BLOCKS];
    struct pm_stats stats;
    printf("secure %d\n", getauxval(AT_SECURE) != 0);
    printf("24 bytes become %zu\n", malloc_usable_size(malloc(24))); /* POOLMALLOC_ALIGNMENT */
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(SIZE);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    pm_stats_get(&stats);
    printf("magazines %d\n", stats.classes[CLASS].blocks_magazine != 0); /* POOLMALLOC_CHECK */
    printf("kept %d\n", stats.pools_free_dirty != 0);                    /* POOLMALLOC_PURGE */
    printf("region %zu\n", stats.region_bytes);                          /* POOLMALLOC_REGION */
    printf("threads %d\n", thread_count());                              /* POOLMALLOC_PURGE_THREAD */
    printf("handler %d\n", has_handler(SIGUSR2));                        /* POOLMALLOC_STATS_SIGNAL */
    return 0;
}
