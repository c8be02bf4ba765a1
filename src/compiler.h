/* SPDX-License-Identifier: MIT
 *
 * What the code needs from the compiler (GCC 12 and clang 14 or later), under names that say what it is for.
 * Layer 0: uses nothing.
 */
#ifndef PM_COMPILER_H
#define PM_COMPILER_H

#define PM_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define PM_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* On the fast path a call costs as much as the work. */
#define PM_INLINE static inline __attribute__((always_inline))

/* Slow paths: kept out of line so that the fast path needs no stack frame and no saved registers. */
#define PM_SLOW __attribute__((noinline, cold))
#define PM_NOINLINE __attribute__((noinline))

/* Visible outside the shared library; everything else is compiled with hidden visibility. */
#define PM_EXPORT __attribute__((visibility("default")))

/* With the initial-exec model reading a thread-local variable takes two instructions and never calls into libc (which
 * might allocate). The few bytes there are fit the surplus that glibc keeps for libraries that are opened late. */
#define PM_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

#endif
