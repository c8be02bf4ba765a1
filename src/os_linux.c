/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "compiler.h"

/* Of the kernel's interface; its headers are not everywhere where libc's are. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

static void *
map(size_t size, int protection, int flags)
{
    int saved = errno;
    void *address = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    errno = saved;
    return address == MAP_FAILED ? NULL : address;
}

void *
pm_os_map(size_t size)
{
    return map(size, PROT_READ | PROT_WRITE, 0);
}

void
pm_os_unmap(void *address, size_t size)
{
    int saved = errno;
    munmap(address, size);
    errno = saved;
}

void *
pm_os_remap(void *address, size_t old_size, size_t new_size)
{
    int saved = errno;
    void *moved = mremap(address, old_size, new_size, MREMAP_MAYMOVE);
    errno = saved;
    return moved == MAP_FAILED ? NULL : moved;
}

void *
pm_os_reserve(size_t size, size_t alignment)
{
    char *start = map(size + alignment, PROT_NONE, MAP_NORESERVE);
    if (start == NULL)
        return NULL;
    size_t before = -(uintptr_t)start & (alignment - 1);
    if (before != 0)
        pm_os_unmap(start, before);
    pm_os_unmap(start + before + size, alignment - before);
    /* Pools come and go by the page; a huge page under them would keep 2 MiB for one live block. */
    int saved = errno;
    madvise(start + before, size, MADV_NOHUGEPAGE);
    errno = saved;
    return start + before;
}

size_t
pm_os_page_size(void)
{
    return (size_t)getauxval(AT_PAGESZ);
}

bool
pm_os_commit(void *address, size_t size)
{
    int saved = errno;
    uintptr_t page = pm_os_page_size();
    uintptr_t start = (uintptr_t)address & -page;
    uintptr_t end = ((uintptr_t)address + size + page - 1) & -page;
    bool done = mprotect((void *)start, end - start, PROT_READ | PROT_WRITE) == 0;
    errno = saved;
    return done;
}

void
pm_os_allow_reading(void *address, size_t size)
{
    int saved = errno;
    mprotect(address, size, PROT_READ);
    errno = saved;
}

void
pm_os_decommit(void *address, size_t size)
{
    int saved = errno;
    /* A new mapping in place of the old one, and not mprotect: only so the kernel forgets what it had promised. */
    if (mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
        madvise(address, size, MADV_NOHUGEPAGE);
    errno = saved;
}

void
pm_os_renew(void *address, size_t size)
{
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (mmap(address, size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED)
        madvise(address, size, MADV_NOHUGEPAGE);
    else
        pm_os_discard(address, size);
    errno = saved;
}

void
pm_os_use_huge_pages(void *address, size_t size, bool use)
{
    int saved = errno;
    madvise(address, size, use ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    errno = saved;
}

void
pm_os_discard(void *address, size_t size)
{
    int saved = errno;
    uintptr_t page = pm_os_page_size();
    uintptr_t start = ((uintptr_t)address + page - 1) & -page;
    uintptr_t end = ((uintptr_t)address + size) & -page;
    if (start < end)
        madvise((void *)start, end - start, MADV_DONTNEED);
    errno = saved;
}

void
pm_os_wait(atomic_uint *word, unsigned value)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

void
pm_os_wake(atomic_uint *word)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

void
pm_os_yield(void)
{
    sched_yield();
}

bool
pm_os_is_privileged(void)
{
    int saved = errno;
    bool privileged = getauxval(AT_SECURE) != 0;
    errno = saved;
    return privileged;
}

size_t
pm_os_address_space_limit(void)
{
    struct rlimit limit;
    int saved = errno;
    int failed = getrlimit(RLIMIT_AS, &limit);
    errno = saved;
    return failed || limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

size_t
pm_os_memory_bytes(void)
{
    struct sysinfo info;
    int saved = errno;
    int failed = sysinfo(&info);
    errno = saved;
    return failed ? 0 : (size_t)info.totalram * info.mem_unit;
}

uintptr_t pm_os_main_stack;
PM_THREAD_LOCAL char pm_os_thread_storage;

/* AT_RANDOM is a pointer to bytes above the first frame of the main thread. */
__attribute__((constructor)) static void
find_main_stack(void)
{
    int saved = errno;
    pm_os_main_stack = getauxval(AT_RANDOM);
    errno = saved;
}

bool
pm_os_is_stack(const void *address)
{
    if (pm_os_main_stack - (uintptr_t)address < PM_OS_MAIN_STACK_GAP)
        return true;
#ifdef __GLIBC__
    /* The main thread's thread-local storage is not on its stack, and anything may lie below it. */
    int saved = errno;
    bool main_thread = syscall(SYS_gettid) == getpid();
    errno = saved;
    return !main_thread;
#else
    return false;
#endif
}

uint64_t
pm_os_milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

long
pm_os_pid(void)
{
    return (long)getpid();
}

void
pm_os_write(int fd, const char *bytes, size_t length)
{
    int saved = errno;
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        bytes += written;
        length -= (size_t)written;
    }
    errno = saved;
}

int
pm_os_create(const char *path)
{
    int saved = errno;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
    errno = saved;
    return fd;
}

void
pm_os_close(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
}

_Noreturn void
pm_os_abort(void)
{
    abort();
}
