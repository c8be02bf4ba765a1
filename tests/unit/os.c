/* SPDX-License-Identifier: MIT
 *
 * os.h: what happens to pages that are reserved, committed, decommitted and discarded, partial pages included; the
 * stack; writing to a slow pipe; and that no call changes errno, also when it fails.
 */
#include "os.h"

#include "geometry.h"
#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 16, MARK = 77 };

static const size_t impossible = (size_t)1 << 60;

static void
require_protection(const void *address, const char *expected)
{
    const char *found = mapping_protection(address);
    REQUIRE(strcmp(found, expected) == 0, "%p is \"%s\" instead of \"%s\"", address, found, expected);
}

Test(os, reservations_are_aligned_and_untouchable)
{
    for (size_t alignment = 4096; alignment <= (size_t)64 << 20; alignment *= 4) {
        char *address = pm_os_reserve((size_t)1 << 30, alignment);
        REQUIRE(address != NULL && (uintptr_t)address % alignment == 0, "%p for %zu", (void *)address, alignment);
        require_protection(address, "---p");
        require_protection(address + ((size_t)1 << 30) - 1, "---p");
        pm_os_unmap(address, (size_t)1 << 30);
        require_protection(address, "");
    }
}

Test(os, commit_widens_to_pages)
{
    size_t page = pm_os_page_size();
    char *address = pm_os_reserve(PAGES * page, PM_REGION_ALIGNMENT);
    REQUIRE(pm_os_commit(address + page + 1, page), "no memory");
    require_protection(address, "---p");
    require_protection(address + page, "rw-p");
    require_protection(address + 3 * page - 1, "rw-p");
    require_protection(address + 3 * page, "---p");
    REQUIRE(resident_pages(address, PAGES * page) == 0, "committing takes memory");
    for (size_t i = page; i < 3 * page; i++)
        REQUIRE(address[i] == 0, "byte %zu is %d", i, address[i]);
}

Test(os, reading_may_be_allowed_alone)
{
    char *address = pm_os_reserve((size_t)1 << 20, PM_REGION_ALIGNMENT);
    pm_os_allow_reading(address, 8 * pm_os_page_size());
    require_protection(address, "r--p");
    require_protection(address + 8 * pm_os_page_size(), "---p");
    REQUIRE(address[5000] == 0, "not zero");
    REQUIRE(pm_os_commit(address, 4096), "no memory");
    address[100] = MARK;
}

Test(os, discard_narrows_to_pages)
{
    size_t page = pm_os_page_size();
    char *address = pm_os_map(PAGES * page);
    memset(address, MARK, PAGES * page);
    pm_os_discard(address + page + 1, 2 * page);
    for (size_t i = 0; i < PAGES; i++) {
        REQUIRE(page_is_resident(address + i * page) == (i != 2), "page %zu", i);
        REQUIRE(address[i * page] == (i != 2 ? MARK : 0), "page %zu begins with %d", i, address[i * page]);
    }
    pm_os_discard(address + 5 * page + 1, page - 1);
    pm_os_discard(address + 6 * page, page - 1);
    REQUIRE(address[5 * page] == MARK && address[6 * page] == MARK, "a part of a page took the page");
}

Test(os, huge_pages_only_where_they_are_asked_for)
{
    char *address = pm_os_reserve(4 * PM_REGION_ALIGNMENT, PM_REGION_ALIGNMENT);
    char *second = address + PM_REGION_ALIGNMENT;
    REQUIRE(pm_os_commit(address, 4 * PM_REGION_ALIGNMENT), "no memory");
    REQUIRE(mapping_has_flag(address, "nh") && !mapping_has_flag(address, "hg"), "huge without being asked");
    pm_os_use_huge_pages(second, PM_REGION_ALIGNMENT, true);
    REQUIRE(mapping_has_flag(second, "hg") && !mapping_has_flag(second, "nh"), "not asked for");
    REQUIRE(mapping_has_flag(second - 1, "nh") && mapping_has_flag(second + PM_REGION_ALIGNMENT, "nh"), "neighbours");
    pm_os_use_huge_pages(second, PM_REGION_ALIGNMENT, false);
    REQUIRE(mapping_has_flag(second, "nh") && !mapping_has_flag(second, "hg"), "still asked for");
}

/* Nothing is left of what was there; the mapping has the flags of its neighbours, so that it is none of its own. */
Test(os, renew_makes_the_pages_as_new)
{
    char *address = pm_os_reserve(3 * PM_REGION_ALIGNMENT, PM_REGION_ALIGNMENT);
    char *second = address + PM_REGION_ALIGNMENT;
    REQUIRE(pm_os_commit(address, 3 * PM_REGION_ALIGNMENT), "no memory");
    memset(address, MARK, 3 * PM_REGION_ALIGNMENT);
    pm_os_use_huge_pages(second, PM_REGION_ALIGNMENT, true);
    pm_os_renew(second, PM_REGION_ALIGNMENT);
    require_protection(second, "rw-p");
    REQUIRE(mapping_has_flag(second, "nh") && mapping_has_flag(address, "nh"), "not as the others are");
    REQUIRE(resident_pages(second, PM_REGION_ALIGNMENT) == 0, "%zu pages", resident_pages(second, PM_REGION_ALIGNMENT));
    REQUIRE(second[0] == 0 && second[PM_REGION_ALIGNMENT - 1] == 0, "old contents");
    REQUIRE(second[-1] == MARK && second[PM_REGION_ALIGNMENT] == MARK, "the neighbours");
    pm_os_use_huge_pages(second, PM_REGION_ALIGNMENT, true);
    REQUIRE(mapping_has_flag(second, "hg"), "no huge pages afterwards");
}

Test(os, decommit_undoes_commit)
{
    size_t page = pm_os_page_size();
    char *address = pm_os_reserve(PAGES * page, PM_REGION_ALIGNMENT);
    REQUIRE(pm_os_commit(address, PAGES * page), "no memory");
    memset(address, MARK, PAGES * page);
    pm_os_decommit(address + 4 * page, 8 * page);
    require_protection(address + 4 * page - 1, "rw-p");
    require_protection(address + 4 * page, "---p");
    require_protection(address + 12 * page - 1, "---p");
    require_protection(address + 12 * page, "rw-p");
    REQUIRE(resident_pages(address, PAGES * page) == 8, "%zu pages", resident_pages(address, PAGES * page));
    REQUIRE(pm_os_commit(address + 4 * page, 8 * page) && address[5 * page] == 0, "old contents came back");
}

Test(os, mappings_grow_with_their_contents)
{
    size_t page = pm_os_page_size();
    char *address = pm_os_map(2 * page);
    memset(address, MARK, 2 * page);
    char *moved = pm_os_remap(address, 2 * page, 1000 * page);
    REQUIRE(moved != NULL && moved[0] == MARK && moved[2 * page - 1] == MARK && moved[2 * page] == 0, "contents");
    REQUIRE(pm_os_remap(moved, 1000 * page, impossible) == NULL && moved[0] == MARK, "the old mapping is gone");
    pm_os_unmap(moved, 1000 * page);
    require_protection(moved, "");
}

Test(os, failing_calls_keep_errno)
{
    char *page = pm_os_map(4096);
    const char *problem;
    errno = MARK;
    REQUIRE(pm_os_reserve(impossible, 4096) == NULL, "reserved 2^60 bytes");
    REQUIRE(pm_os_map(impossible) == NULL, "mapped 2^60 bytes");
    REQUIRE(pm_os_remap(page, 4096, impossible) == NULL, "mapped 2^60 bytes");
    REQUIRE(!pm_os_commit((void *)4096, 4096), "committed the first page");
    pm_os_discard((void *)4096, 4096);
    pm_os_renew((void *)4096, 0);
    pm_os_use_huge_pages((void *)4096, 4096, true);
    pm_os_use_huge_pages((void *)4096, 4096, false);
    pm_os_unmap((void *)4096, 0);
    REQUIRE(pm_os_create("/none/such", &problem) == -1, "created a file in no directory");
    pm_os_close(-1);
    pm_os_write(-1, "x", 1);
    atomic_uint word = 0;
    pm_os_wait(&word, 1);
    REQUIRE(pm_os_wait_for(&word, 1, 60000), "another value, and it waited");
    REQUIRE(!pm_os_wait_for(&word, 0, 1), "nobody woke it");
    pm_os_wake(&word);
    pm_os_yield();
    REQUIRE(errno == MARK, "errno became %d", errno);
}

/* ---- The stack ---- */

static int global;

/* Where the stack of a thread is proven to be one (os_linux.c), and has no sanitizer's frames on it. */
#if defined(__GLIBC__) && defined(__x86_64__)
#define KNOWS_THREADS (!TEST_SANITIZED)
#else
#define KNOWS_THREADS 0
#endif

/* What is not on a stack must never pass for it; what is may go unrecognised, but not near a thread's beginning. */
static void *
check_stack_of_thread(void *of_main_thread)
{
    int local = 0;
    void *block = malloc(100);
    REQUIRE(pm_os_on_stack(of_main_thread), "a variable of the main thread is not on a stack");
    REQUIRE(!KNOWS_THREADS || pm_os_on_stack(&local), "a local variable is not on a stack");
    REQUIRE(!pm_os_on_stack(&global), "a global variable is on a stack");
    REQUIRE(!pm_os_on_stack(block) && !pm_os_on_stack(NULL), "a block is on a stack");
    free(block);
    return NULL;
}

Test(os, stacks)
{
    int local = 0;
    pthread_t thread;
    check_stack_of_thread(&local);
    REQUIRE(pthread_create(&thread, NULL, check_stack_of_thread, &local) == 0, "no thread");
    pthread_join(thread, NULL);
    errno = MARK;
    char *page = pm_os_map(4096);
    REQUIRE(!pm_os_on_stack(page) && !pm_os_on_stack((void *)UINTPTR_MAX) && errno == MARK, "errno %d", errno);
}

/* No file can be opened meanwhile. */
static void
forbid_files(bool forbidden)
{
    static struct rlimit before;
    if (forbidden)
        getrlimit(RLIMIT_NOFILE, &before);
    const struct rlimit none = {0, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, forbidden ? &none : &before) == 0, "the limit stays");
}

/* Where the kernel maps nothing unless it is asked to; an emulator does. */
static char *
map_close_to_main_stack(void)
{
    void *wanted = (void *)((pm_os_main_stack & -pm_os_page_size()) - PM_OS_MAIN_STACK_GAP / 2);
    void *page = mmap(wanted, pm_os_page_size(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(page == wanted, "%p instead of %p", page, wanted);
    return page;
}

Test(os, what_lies_close_to_the_main_stack_is_not_on_it)
{
    int local = 0;
    char *page = map_close_to_main_stack();
    errno = MARK;
    REQUIRE(!pm_os_on_stack(page + 16), "a mapping below the stack is on the stack");
    REQUIRE(pm_os_on_stack(&local), "the stack is no stack any more");
    /* Once is enough: the next such address costs no look at the mappings, which would fail and be remembered. */
    forbid_files(true);
    for (size_t i = 0; i < 4096; i += 16)
        REQUIRE(!pm_os_on_stack(page + i), "a mapping below the stack is on the stack");
    forbid_files(false);
    REQUIRE(pm_os_on_stack(&local) && errno == MARK, "the stack is no stack any more, or errno %d", errno);
}

Test(os, without_a_proof_nothing_is_on_the_main_stack)
{
    int local = 0;
    char *page = map_close_to_main_stack();
    errno = MARK;
    forbid_files(true);
    REQUIRE(!pm_os_on_stack(&local) && !pm_os_on_stack(page) && errno == MARK, "a verdict, or errno %d", errno);
    forbid_files(false);
}

/* The smallest stack there is, and what lies below it. */
static void *
check_end_of_stack(void *stack)
{
    int local = 0;
    REQUIRE(!KNOWS_THREADS || pm_os_on_stack(&local), "a local variable is not on a stack");
    for (size_t i = 0; i < 65536; i += 16)
        REQUIRE(!pm_os_on_stack((char *)stack - i - 1), "%zu bytes below the stack", i);
    return NULL;
}

Test(os, stacks_of_the_programs_own)
{
    enum { SIZE = 16384, BELOW = 65536 };
    pthread_attr_t attributes;
    pthread_t thread;
    if (TEST_SANITIZED || SIZE < sysconf(_SC_THREAD_STACK_MIN))
        return; /* no room for a sanitizer's frames */
    char *stack = (char *)pm_os_map(BELOW + SIZE) + BELOW;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstack(&attributes, stack, SIZE) == 0, "too small a stack");
    REQUIRE(pthread_create(&thread, &attributes, check_end_of_stack, stack) == 0, "no thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

/* Such a thread has the main thread's storage, below which anything may lie. */
static int
check_below_storage(void *wrong)
{
    for (uintptr_t below = 1; below < PM_OS_THREAD_STACK_KNOWN; below += 16)
        *(int *)wrong += pm_os_on_stack(&pm_os_thread_storage - below);
    return 0;
}

Test(os, threads_that_pthread_create_did_not_make)
{
    enum { SIZE = 65536, FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM };
    static volatile pid_t running = 1;
    int wrong = 0;
    if (TEST_SANITIZED)
        return; /* a sanitizer does not know such threads */
    char *stack = pm_os_map(SIZE);
    int thread = clone(check_below_storage, stack + SIZE, FLAGS | CLONE_CHILD_CLEARTID, &wrong, NULL, NULL, &running);
    REQUIRE(thread > 0, "no thread");
    while (running != 0)
        pm_os_yield();
    REQUIRE(wrong == 0, "%d addresses that are on no stack", wrong);
}

/* ---- Files ---- */

enum { WRITTEN = 300000 };

static volatile sig_atomic_t alarms_taken;

static void
count_alarm(int signal)
{
    (void)signal;
    alarms_taken++;
}

static int ends[2]; /* of a pipe */
static atomic_bool all_written;

static bool
is_full(void)
{
    struct pollfd writer = {.fd = ends[1], .events = POLLOUT};
    return poll(&writer, 1, 0) == 0;
}

/* Reads a little at a time, each time when the writer waits for room and a signal has come meanwhile. */
static void *
read_slowly(void *unused)
{
    static unsigned char bytes[4096];
    size_t total = 0;
    for (ssize_t got = 1; got > 0; total += (size_t)got) {
        int before = alarms_taken;
        while (!atomic_load(&all_written) && (!is_full() || alarms_taken == before))
            usleep(100);
        got = read(ends[0], bytes, sizeof bytes);
        for (ssize_t i = 0; i < got; i++)
            REQUIRE(bytes[i] == (unsigned char)((total + (size_t)i) % 251), "byte %zu is %d", total + (size_t)i,
                    bytes[i]);
    }
    REQUIRE(total == WRITTEN, "%zu bytes arrived", total);
    return unused;
}

/* Signals end write early, now with some bytes written, now with none. */
Test(os, write_goes_on_until_all_is_written)
{
    static char bytes[WRITTEN];
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    const struct sigaction action = {.sa_handler = count_alarm};
    sigset_t alarms;
    pthread_t reader;
    for (size_t i = 0; i < WRITTEN; i++)
        bytes[i] = (char)(i % 251);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    REQUIRE(pipe(ends) == 0 && pthread_create(&reader, NULL, read_slowly, NULL) == 0, "no pipe or no thread");
    sigaction(SIGALRM, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    pm_os_write(ends[1], bytes, WRITTEN);
    setitimer(ITIMER_REAL, &never, NULL);
    close(ends[1]);
    atomic_store(&all_written, true);
    pthread_join(reader, NULL);
}

Test(os, create_empties_the_file)
{
    char path[64];
    const char *problem = "";
    snprintf(path, sizeof path, "/tmp/unit_os.%ld", pm_os_pid());
    for (int round = 0; round < 2; round++) {
        int fd = pm_os_create(path, &problem);
        REQUIRE(problem == NULL, "a file with a problem: %s", problem);
        REQUIRE(fd >= 0 && lseek(fd, 0, SEEK_END) == 0, "round %d", round);
        REQUIRE(fcntl(fd, F_GETFD) & FD_CLOEXEC, "the file is handed on to other programs");
        pm_os_write(fd, "text", 4);
        REQUIRE(lseek(fd, 0, SEEK_END) == 4, "round %d", round);
        pm_os_close(fd);
        REQUIRE(fcntl(fd, F_GETFD) < 0, "the file stays open");
    }
    unlink(path);
}

static uint64_t
exact_milliseconds(void)
{
    struct timespec now;
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &now) == 0, "no clock");
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* It is never ahead of the exact clock, and never goes back; and it follows that clock, though the kernel may be late
 * now and then. */
Test(os, the_clock_goes_forward)
{
    uint64_t last = pm_os_milliseconds();
    for (int followed = 0; followed < 5;) {
        uint64_t exact = exact_milliseconds(), now = pm_os_milliseconds();
        REQUIRE(now >= last, "from %zu to %zu", (size_t)last, (size_t)now);
        REQUIRE(now <= exact_milliseconds(), "%zu, which is not yet", (size_t)now);
        followed += now > last && now + 20 >= exact;
        last = now;
    }
}

Test(os, the_machine)
{
    REQUIRE(pm_os_page_size() == (size_t)sysconf(_SC_PAGESIZE), "pages of %zu bytes", pm_os_page_size());
    size_t memory = pm_os_memory_bytes();
    size_t expected = (size_t)sysconf(_SC_PHYS_PAGES) * pm_os_page_size();
    REQUIRE(memory / 4096 == expected / 4096, "%zu bytes of memory instead of %zu", memory, expected);
    REQUIRE(pm_os_pid() == (long)getpid(), "process %ld", pm_os_pid());
    REQUIRE(!pm_os_is_privileged(), "a test with special rights");
}
