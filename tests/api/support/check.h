/* SPDX-License-Identifier: MIT
 *
 * REQUIRE: the assertion of these tests.
 *
 * Criterion's own assertions report every success to the runner, which allocates and takes longer than what is tested
 * here, and they may not be used outside the thread that runs the test. REQUIRE costs a branch, allocates nothing, and
 * may fail in any thread and in a forked child: it writes one line to stderr and aborts, which the runner (Criterion,
 * or the parent) counts as a failure.
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

/* The remaining arguments are a printf format and its values: say which of many rounds it was. */
#define REQUIRE(condition, ...)                                       \
    do {                                                              \
        if (!(condition)) {                                           \
            test_failed(__FILE__, __LINE__, #condition, __VA_ARGS__); \
        }                                                             \
    } while (0)

__attribute__((noreturn, format(printf, 4, 5))) void test_failed(const char *file, int line, const char *condition,
                                                                 const char *format, ...);

/* The sanitizers keep memory of their own: bounds on what the process holds make no sense there. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#ifdef __cplusplus
}
#endif

#endif
