/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "compiler.h"

/* Of the kernel's interface; its headers are not everywhere where libc's are. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#define KERNEL_SIGSET_SIZE 8

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

bool
pm_os_unmap(void *address, size_t size)
{
    int saved = errno;
    bool done = munmap(address, size) == 0;
    errno = saved;
    return done;
}

void *
pm_os_remap(void *address, size_t old_size, size_t new_size)
{
    int saved = errno;
    void *moved = mremap(address, old_size, new_size, MREMAP_MAYMOVE);
    errno = saved;
    return moved == MAP_FAILED ? NULL : moved;
}

/* Pools come and go by the page; a huge page under them would keep 2 MiB for one live block. And what is only reserved
 * has no contents: without the advice gcore(1) writes all of it, many times the machine's memory, into a core file.
 * Where advice is refused memory is used with less care, and nothing else is lost. */
static void
advise_reserved(void *address, size_t size)
{
    madvise(address, size, MADV_NOHUGEPAGE);
    madvise(address, size, MADV_DONTDUMP);
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
    int saved = errno;
    advise_reserved(start + before, size);
    errno = saved;
    return start + before;
}

/* Of the kernel's interface; older headers of libc lack it. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

bool
pm_os_reserve_at(void *address, size_t size)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    int saved = errno;
    void *found = mmap(address, size, PROT_NONE, flags, -1, 0);
    if (found == address)
        advise_reserved(address, size);
    else if (found != MAP_FAILED)
        munmap(found, size); /* a kernel before 4.17, to which the address is a proposal */
    errno = saved;
    return found == address;
}

bool
pm_os_has_addresses(void)
{
    void *page = map(pm_os_page_size(), PROT_NONE, MAP_NORESERVE);
    return page != NULL && pm_os_unmap(page, pm_os_page_size());
}

size_t
pm_os_page_size(void)
{
    static _Atomic size_t size;
    size_t known = atomic_load_explicit(&size, memory_order_relaxed);
    if (PM_UNLIKELY(known == 0))
        atomic_store_explicit(&size, known = getauxval(AT_PAGESZ), memory_order_relaxed);
    return known;
}

bool
pm_os_commit(void *address, size_t size)
{
    int saved = errno;
    uintptr_t page = pm_os_page_size();
    uintptr_t start = (uintptr_t)address & -page;
    uintptr_t end = ((uintptr_t)address + size + page - 1) & -page;
    bool done = mprotect((void *)start, end - start, PROT_READ | PROT_WRITE) == 0;
    if (done)
        madvise((void *)start, end - start, MADV_DODUMP);
    errno = saved;
    return done;
}

bool
pm_os_allow_reading(void *address, size_t size)
{
    int saved = errno;
    bool done = mprotect(address, size, PROT_READ) == 0;
    errno = saved;
    return done;
}

bool
pm_os_decommit(void *address, size_t size)
{
    int saved = errno;
    /* A new mapping in place of the old one, and not mprotect: only so the kernel forgets what it had promised. */
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    bool done = mmap(address, size, PROT_NONE, flags, -1, 0) != MAP_FAILED;
    if (done)
        advise_reserved(address, size);
    errno = saved;
    return done;
}

/* The memory goes first. So locked pages stay what they are, and a mapping that the kernel refuses, because the process
 * has more address space than its limit allows by now, costs no more than the page tables. */
bool
pm_os_renew(void *address, size_t size)
{
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    bool done = pm_os_discard(address, size);
    if (done && mmap(address, size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED)
        madvise(address, size, MADV_NOHUGEPAGE);
    errno = saved;
    return done;
}

bool
pm_os_use_huge_pages(void *address, size_t size, bool use)
{
    int saved = errno;
    bool done = madvise(address, size, use ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0;
    errno = saved;
    return done;
}

bool
pm_os_discard(void *address, size_t size)
{
    int saved = errno;
    uintptr_t page = pm_os_page_size();
    uintptr_t start = ((uintptr_t)address + page - 1) & -page;
    uintptr_t end = ((uintptr_t)address + size) & -page;
    bool done = start >= end || madvise((void *)start, end - start, MADV_DONTNEED) == 0;
    errno = saved;
    return done;
}

void
pm_os_wait(atomic_uint *word, unsigned value)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

bool
pm_os_wait_for(atomic_uint *word, unsigned value, unsigned milliseconds)
{
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    int saved = errno;
    bool expired = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &time, NULL, 0) != 0 && errno == ETIMEDOUT;
    errno = saved;
    return !expired;
}

void
pm_os_sleep(unsigned milliseconds)
{
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    int saved = errno;
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
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

/* The system call itself: the name may lead to override_limit.c, whose work this is. */
int
pm_os_limit(long pid, int resource, const struct rlimit *limit, struct rlimit *former)
{
    _Static_assert(sizeof(struct rlimit) == 2 * sizeof(uint64_t), "the kernel's struct rlimit64");
    int saved = errno;
    int error = syscall(SYS_prlimit64, (pid_t)pid, resource, limit, former) == 0 ? 0 : errno;
    errno = saved;
    return error;
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

/* ---- Stacks ---- */

uintptr_t pm_os_main_stack;
PM_THREAD_LOCAL char pm_os_thread_storage;

/* No address below this one is called an address on the main thread's stack any more. It only rises. */
static _Atomic uintptr_t main_stack_floor;

/* AT_RANDOM is a pointer to bytes above the first frame of the main thread. */
__attribute__((constructor)) static void
find_main_stack(void)
{
    int saved = errno;
    pm_os_main_stack = getauxval(AT_RANDOM);
    errno = saved;
}

/* A file read byte by byte. */
struct byte_reader {
    int fd;
    size_t next, count;
    char bytes[512];
};

/* -1 at the end and on any error. */
static int
read_byte(struct byte_reader *reader)
{
    if (reader->next == reader->count) {
        reader->next = 0;
        reader->count = pm_os_read(reader->fd, reader->bytes, sizeof reader->bytes);
    }
    return reader->count != 0 ? (unsigned char)reader->bytes[reader->next++] : -1;
}

/* A hexadecimal number and the character behind it. */
static uintptr_t
read_hexadecimal(struct byte_reader *reader)
{
    uintptr_t number = 0;
    for (;;) {
        int byte = read_byte(reader);
        if (byte >= '0' && byte <= '9')
            number = number << 4 | (uintptr_t)(byte - '0');
        else if (byte >= 'a' && byte <= 'f')
            number = number << 4 | (uintptr_t)(byte - 'a' + 10);
        else
            return number;
    }
}

/* Where the mapping begins that holds the main thread's stack, UINTPTR_MAX when that cannot be found out. The kernel has
 * to call it the stack as well: an emulator's stack is a mapping like any other, and the mapping of something else right
 * below it would be shown as one with it, but then not by that name. */
static uintptr_t
find_stack_in(struct byte_reader *mappings)
{
    static const char name[8] = " [stack]";
    for (;;) {
        uintptr_t start = read_hexadecimal(mappings), end = read_hexadecimal(mappings);
        char last[sizeof name] = {0}; /* of the line */
        int byte;
        while ((byte = read_byte(mappings)) >= 0 && byte != '\n') {
            memmove(last, last + 1, sizeof last - 1);
            last[sizeof last - 1] = (char)byte;
        }
        if (start <= pm_os_main_stack && pm_os_main_stack < end && memcmp(last, name, sizeof name) == 0)
            return start;
        if (byte < 0)
            return UINTPTR_MAX;
    }
}

static uintptr_t
start_of_main_stack(void)
{
    struct byte_reader mappings = {.fd = pm_os_open("/proc/self/maps")};
    if (mappings.fd < 0)
        return UINTPTR_MAX;
    uintptr_t start = find_stack_in(&mappings);
    pm_os_close(mappings.fd);
    return start;
}

/* What lies in that mapping below the first frame is the stack. What lies close to it may be anybody's all the same:
 * an emulator maps other things there, and a program may ask for such an address. One look at the mappings answers for
 * all such addresses: none of them ever is on the stack, unless it becomes so later, and then it goes unrecognised. */
static bool
is_main_stack(uintptr_t address)
{
    if (pm_os_main_stack - address >= PM_OS_MAIN_STACK_GAP ||
        address < atomic_load_explicit(&main_stack_floor, memory_order_relaxed))
        return false;
    uintptr_t start = start_of_main_stack();
    if (address >= start)
        return true;
    uintptr_t floor = atomic_load_explicit(&main_stack_floor, memory_order_relaxed);
    while (floor < start && !atomic_compare_exchange_weak_explicit(&main_stack_floor, &floor, start,
                                                                   memory_order_relaxed, memory_order_relaxed))
        ;
    return false;
}

/* In a thread that pthread_create made, what lies below the thread's descriptor, pthread_self(), is its stack: on x86-64
 * glibc keeps the descriptor in the topmost 4 KiB of the stack, the static thread-local storage below it, and accepts no
 * stack of less than 16 KiB, the program's own ones included. Two kinds of threads have their storage elsewhere, where
 * anything may lie below it. The main thread has the number of its process. A thread that the program made by clone(2),
 * with storage of its own or with another thread's, lacks the list of robust mutexes, which glibc keeps in the descriptor
 * and which no clone inherits. Where the kernel does not tell where that list is, as in qemu, nothing is proven. */
static bool
is_thread_stack(uintptr_t address)
{
#if defined(__GLIBC__) && defined(__x86_64__)
    enum { LIST_WITHIN = 2048 };
    uintptr_t descriptor = (uintptr_t)pthread_self(), list = 0;
    size_t length;
    return (uintptr_t)&pm_os_thread_storage - address < PM_OS_THREAD_STACK_KNOWN &&
           descriptor - address < PM_OS_THREAD_STACK_KNOWN && syscall(SYS_gettid) != syscall(SYS_getpid) &&
           syscall(SYS_get_robust_list, 0, &list, &length) == 0 && list - descriptor < LIST_WITHIN;
#else
    (void)address;
    return false;
#endif
}

bool
pm_os_is_stack(const void *address)
{
    int saved = errno;
    bool found = is_main_stack((uintptr_t)address) || is_thread_stack((uintptr_t)address);
    errno = saved;
    return found;
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
        ssize_t written = syscall(SYS_write, fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        bytes += written;
        length -= (size_t)written;
    }
    errno = saved;
}

static int
open_file(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

/* What is wrong with an existing file, NULL when nothing is. In a directory that others can write to, they may have made
 * a file of that name, to read what is written or to have another file overwritten. */
static const char *
unfit(const struct stat *file)
{
    if (S_ISCHR(file->st_mode))
        return NULL;
    if (!S_ISREG(file->st_mode) && !S_ISFIFO(file->st_mode))
        return "it is no file, pipe or character device";
    if (file->st_uid != geteuid())
        return "it belongs to another user";
    return file->st_nlink > 1 ? "it has more than one name" : NULL;
}

/* Does not wait for a reader of a pipe. */
static int
open_existing(const char *path, const char **problem)
{
    struct stat found;
    int fd = open_file(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        *problem = errno == ELOOP ? "it is a symbolic link" : errno == ENXIO ? "nobody reads it" : NULL;
        return -1;
    }
    bool known = fstat(fd, &found) == 0;
    *problem = known ? unfit(&found) : NULL;
    if (known && *problem == NULL && (!S_ISREG(found.st_mode) || ftruncate(fd, 0) == 0)) {
        fcntl(fd, F_SETFL, 0); /* what is written waits for room in a pipe */
        return fd;
    }
    pm_os_close(fd);
    return -1;
}

int
pm_os_create(const char *path, const char **problem)
{
    int saved = errno;
    *problem = NULL;
    int fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == EEXIST)
        fd = open_existing(path, problem);
    errno = saved;
    return fd;
}

void
pm_os_close(int fd)
{
    int saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
}

int
pm_os_open(const char *path)
{
    int saved = errno;
    int fd = open_file(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    errno = saved;
    return fd;
}

size_t
pm_os_read(int fd, void *buffer, size_t size)
{
    int saved = errno;
    ssize_t count;
    do {
        count = syscall(SYS_read, fd, buffer, size);
    } while (count < 0 && errno == EINTR);
    errno = saved;
    return count > 0 ? (size_t)count : 0;
}

size_t
pm_os_read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
    int saved = errno;
    ssize_t count = syscall(SYS_pread64, fd, buffer, size, (off_t)offset);
    errno = saved;
    return count > 0 ? (size_t)count : 0;
}

bool
pm_os_read_process(long pid, uintptr_t address, void *buffer, size_t size)
{
    int saved = errno;
    struct iovec to = {buffer, size}, from = {(void *)address, size};
    ssize_t count = process_vm_readv((pid_t)pid, &to, 1, &from, 1, 0);
    errno = saved;
    return count == (ssize_t)size;
}

/* Above what select(2) and programs with a few files use, below the usual limit of 1024. */
#define KEPT_DESCRIPTOR 1000

int
pm_os_keep(int fd)
{
    int saved = errno;
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_DESCRIPTOR);
    if (kept < 0)
        kept = fcntl(fd, F_DUPFD_CLOEXEC, 10); /* a lower limit */
    errno = saved;
    return kept;
}

bool
pm_os_identify(int fd, struct pm_os_file *file)
{
    struct stat found;
    int saved = errno;
    bool open = fstat(fd, &found) == 0;
    errno = saved;
    if (open)
        *file = (struct pm_os_file){found.st_dev, found.st_ino, found.st_rdev, S_ISREG(found.st_mode)};
    return open;
}

/* ---- Signals ---- */

static void (*on_signal)(void);
static struct sigaction former;

static void
handle(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    on_signal();
    errno = saved;
    if (former.sa_flags & SA_SIGINFO)
        former.sa_sigaction(number, info, context);
    else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN)
        former.sa_handler(number);
}

bool
pm_os_on_signal(int number, void (*handler)(void))
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    int saved = errno;
    sigfillset(&action.sa_mask);
    on_signal = handler;
    /* First what is there: the handler may run as soon as it is installed. */
    bool done = sigaction(number, NULL, &former) == 0 && sigaction(number, &action, NULL) == 0;
    errno = saved;
    return done;
}

struct pm_os_pipe_guard
pm_os_guard_pipe(void)
{
    sigset_t pipe, before, pending;
    int saved = errno;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    errno = saved;
    return (struct pm_os_pipe_guard){sigismember(&before, SIGPIPE) == 1, sigismember(&pending, SIGPIPE) == 1};
}

void
pm_os_unguard_pipe(struct pm_os_pipe_guard guard)
{
    static const struct timespec now = {0, 0};
    sigset_t pipe;
    int saved = errno;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!guard.pending)
        syscall(SYS_rt_sigtimedwait, &pipe, NULL, &now, KERNEL_SIGSET_SIZE);
    if (!guard.blocked)
        pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
    errno = saved;
}

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT},     {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},
    {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD},     {"CONT", SIGCONT}, {"URG", SIGURG},   {"IO", SIGIO},
    {"PROF", SIGPROF}, {"PWR", SIGPWR},   {"WINCH", SIGWINCH},   {"XCPU", SIGXCPU}, {"VTALRM", SIGVTALRM},
};

/* Those a program may ask for: not what stops or kills it, nor what reports its own faults. */
static bool
is_usable(int number)
{
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (signals[i].number == number)
            return true;
    return number >= SIGRTMIN && number <= SIGRTMAX;
}

int
pm_os_signal_number(const char *name)
{
    int number = 0;
    if (*name >= '0' && *name <= '9') {
        for (; *name >= '0' && *name <= '9' && number < 1000; name++)
            number = number * 10 + (*name - '0');
        return *name == '\0' && is_usable(number) ? number : 0;
    }
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].number;
    return 0;
}

_Noreturn void
pm_os_abort(void)
{
    abort();
}
