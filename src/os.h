/* SPDX-License-Identifier: MIT
 *
 * The kernel: the one place that makes system calls. No function here allocates, none changes errno, and none is a
 * cancellation point: malloc, free and malloc_stats promise that of themselves, and everything below them has to keep
 * it. So what libc makes a cancellation point (write, read, open, close, ...) is called without libc;
 * pm_os_sleep is one, but only the library's own thread calls it. Layer 1: uses compiler.h.
 */
#ifndef PM_OS_H
#define PM_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"

/* Where a function below returns a bool, false says that the kernel has refused and nothing has changed. */

/* Address space that can be neither read nor written and that costs no memory; NULL when there is none. */
void *pm_os_reserve(size_t size, size_t alignment);

/* The same at this address, whole pages of the machine; false also when anything lies there. */
bool pm_os_reserve_at(void *address, size_t size);

/* Whether the process may map anything more at all. */
bool pm_os_has_addresses(void);

/* Makes reserved pages usable: they read as zero and take memory when first touched. The range is widened to whole
 * pages of the machine, which may be larger than 4 KiB. */
bool pm_os_commit(void *address, size_t size);

/* Makes reserved pages readable, as zero; that is not accounted as use of memory. */
bool pm_os_allow_reading(void *address, size_t size);

/* Undoes pm_os_commit for whole pages of the machine: their memory is given back, and they count as reserved only. */
bool pm_os_decommit(void *address, size_t size);

/* Gives the memory of pages back; they stay usable. The mapping is not split. The range is narrowed to whole pages of
 * the machine: only of these the memory is gone, and zero. The kernel refuses this for locked pages (mlock(2)); after a
 * refusal some of the pages may be gone all the same. */
bool pm_os_discard(void *address, size_t size);

/* As pm_os_discard, and the page tables go as well, without which the next touch can take a huge page. */
bool pm_os_renew(void *address, size_t size);

/* Whether the kernel may back these pages with huge ones. */
bool pm_os_use_huge_pages(void *address, size_t size, bool use);

/* A mapping of its own, zeroed, page-aligned; NULL when there is no memory. */
void *pm_os_map(size_t size);
/* As mremap(2): NULL when it fails, with the old mapping kept. */
void *pm_os_remap(void *address, size_t old_size, size_t new_size);
bool pm_os_unmap(void *address, size_t size);

/* Sleeps while *word is `value` (may return early); wakes one sleeper. The second one sleeps no longer than so many
 * milliseconds, and is false then. */
void pm_os_wait(atomic_uint *word, unsigned value);
bool pm_os_wait_for(atomic_uint *word, unsigned value, unsigned milliseconds);
void pm_os_wake(atomic_uint *word);
void pm_os_sleep(unsigned milliseconds);
/* Lets other threads run. */
void pm_os_yield(void);

size_t pm_os_page_size(void);

/* The machine's memory. */
size_t pm_os_memory_bytes(void);

/* The limit on address space (RLIMIT_AS), SIZE_MAX when there is none. */
size_t pm_os_address_space_limit(void);

/* prlimit(2): 0, or the number of the error. */
struct rlimit;
int pm_os_limit(long pid, int resource, const struct rlimit *limit, struct rlimit *former);

/* What lies further below the top of the main thread's stack is not looked at: the kernel keeps this much free for the
 * stack to grow. */
#define PM_OS_MAIN_STACK_GAP ((uintptr_t)128 << 20)
/* The same of another thread's static thread-local storage, which glibc puts at the top of the thread's stack. */
#define PM_OS_THREAD_STACK_KNOWN ((uintptr_t)8 << 10)

extern uintptr_t pm_os_main_stack; /* its top */
extern PM_THREAD_LOCAL char pm_os_thread_storage;
bool pm_os_is_stack(const void *address);

/* Whether `address` certainly lies on a stack: on the main thread's, or near the beginning of the calling thread's
 * own. The comparisons here only say what is worth a proof, which costs system calls. An address on a stack may go
 * unrecognised; one that is not on a stack never passes for one. */
PM_INLINE bool
pm_os_on_stack(const void *address)
{
    bool near = pm_os_main_stack - (uintptr_t)address < PM_OS_MAIN_STACK_GAP ||
                (uintptr_t)&pm_os_thread_storage - (uintptr_t)address < PM_OS_THREAD_STACK_KNOWN;
    return PM_UNLIKELY(near) && pm_os_is_stack(address);
}

/* A clock that never goes back, good to some milliseconds, that costs no system call. */
uint64_t pm_os_milliseconds(void);

long pm_os_pid(void);
/* Whether the program runs with more rights than its caller: then the environment is not to be trusted. */
bool pm_os_is_privileged(void);

/* Writes all of it, or as much as the descriptor takes. */
void pm_os_write(int fd, const char *bytes, size_t length);

/* A file for writing: a new one that nobody but its owner can read, or one that is emptied, but keeps its permissions.
 * An existing one must be a regular file of the process's user with no other name, a pipe of that user that somebody
 * reads, or a character device; a symbolic link is not followed. -1 when it cannot be had, and `problem` is why, NULL
 * when it is the kernel that refuses. pm_os_close closes it. */
int pm_os_create(const char *path, const char **problem);
void pm_os_close(int fd);

/* A file for reading, -1 when it cannot be had. Reads from where the last read ended, or at `offset`: how many bytes,
 * 0 at the end and on any error. */
int pm_os_open(const char *path);
size_t pm_os_read(int fd, void *buffer, size_t size);
size_t pm_os_read_at(int fd, void *buffer, size_t size, uint64_t offset);

/* Copies memory of a process, also of this one; false when any of it cannot be read. Unmapped memory is no danger. */
bool pm_os_read_process(long pid, uintptr_t address, void *buffer, size_t size);

/* A second descriptor for the open file behind `fd`, numbered where programs do not look and closed by exec; -1 when
 * there is none. */
int pm_os_keep(int fd);

/* Between these two the calling thread's writes to a pipe without a reader fail and do nothing else. */
struct pm_os_pipe_guard {
    bool blocked, pending; /* before */
};
struct pm_os_pipe_guard pm_os_guard_pipe(void);
void pm_os_unguard_pipe(struct pm_os_pipe_guard guard);

/* Which open file is behind a descriptor. */
struct pm_os_file {
    uint64_t device, inode, special;
    uint64_t regular; /* 1: nobody waits for its end, as one may of a pipe */
};
/* False when the descriptor is closed. */
bool pm_os_identify(int fd, struct pm_os_file *file);

/* Installs a signal handler that runs with all signals blocked, on the alternate stack if the thread has one, and calls
 * `handler`; then the handler that was there before, if there was one. */
bool pm_os_on_signal(int number, void (*handler)(void));
/* The signal of that name, with or without SIG, or number; 0 when there is none, or none that a program can live on
 * with. */
int pm_os_signal_number(const char *name);

/* Ends the process by SIGABRT. */
_Noreturn void pm_os_abort(void);

#endif
