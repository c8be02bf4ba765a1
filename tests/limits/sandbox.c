/* SPDX-License-Identifier: MIT
 *
 * `sandbox kill|refuse`: a program in a sandbox (seccomp). With "kill", every system call ends it that glibc's own malloc
 * does not make: the library gets by on those. With "refuse", madvise fails, with EPERM and with ENOSYS: no memory goes
 * back, and nothing else changes; the statistics say what is so. Where the kernel has no such filters the test is
 * skipped, with exit status 77.
 */
#include "support/check.h"
#include "support/measure.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poolmalloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 200000, SIZE = 200, NONE = -1 };

static unsigned char *blocks[BLOCKS];

#define ALLOW(call)                                                       \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(call), 0, 1),          \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))

static void
install(struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = {(unsigned short)count, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("skipped: seccomp");
        exit(77);
    }
}

/* The calls of malloc.c, and with which locks are waited for, results written and the process left. */
static void
allow_little(void)
{
    struct sock_filter filter[] = {
        LOAD_NUMBER,
        ALLOW(SYS_mmap),
        ALLOW(SYS_munmap),
        ALLOW(SYS_mprotect),
        ALLOW(SYS_madvise),
        ALLOW(SYS_mremap),
        ALLOW(SYS_brk),
        ALLOW(SYS_futex),
        ALLOW(SYS_getrandom),
        ALLOW(SYS_write),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    install(filter, sizeof filter / sizeof filter[0]);
}

static void
refuse_advice(int error)
{
    struct sock_filter filter[] = {
        LOAD_NUMBER,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof filter[0]);
}

static size_t
size_of(size_t i)
{
    return i % 1000 == 0 ? 200000 : i % 50 == 0 ? 5000 : SIZE;
}

static void
work(void)
{
    for (int wave = 0; wave < 4; wave++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t size = size_of(i);
            blocks[i] = i % 3 == 0 ? calloc(1, size) : i % 3 == 1 ? malloc(size) : realloc(malloc(100), size);
            REQUIRE(blocks[i] != NULL, "no %zu bytes", size);
            memset(blocks[i], (int)i, size);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            REQUIRE(blocks[i][0] == (unsigned char)i && blocks[i][size_of(i) - 1] == (unsigned char)i, "block %zu", i);
            free(blocks[i]);
        }
        malloc_trim(0);
    }
}

static void
work_refused(int error)
{
    refuse_advice(error);
    size_t before = resident_bytes();
    work();
    struct pm_stats stats;
    pm_stats_get(&stats);
    size_t known = (stats.pools_free_dirty + stats.arenas_free_dirty * 64) * 4096;
    REQUIRE(resident_bytes() >= before + BLOCKS * SIZE / 10 * 9, "memory went: this is no test");
    REQUIRE(known >= BLOCKS * SIZE / 10 * 9, "only %zu KiB are said to be kept", known >> 10);
}

static int
run_in_child(int error)
{
    int status;
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        if (error != NONE) {
            work_refused(error);
        } else {
            allow_little();
            work();
        }
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
    REQUIRE(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "sandbox kill|refuse");
    free(malloc(10));
    if (strcmp(arguments[1], "kill") == 0)
        return run_in_child(NONE);
    int status = run_in_child(EPERM);
    return status != 0 ? status : run_in_child(ENOSYS);
}
