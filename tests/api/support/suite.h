/* SPDX-License-Identifier: MIT
 *
 * Test(suite, name) { ... }: Criterion's, or, with TEST_WITHOUT_CRITERION, that of the few lines in suite.c.
 *
 * Criterion maps its own memory at an address that ThreadSanitizer keeps for itself, so that a program with both does
 * not start. The races between threads are what these tests are for: under that sanitizer they run without it.
 */
#ifndef TEST_SUITE_H
#define TEST_SUITE_H

#ifdef TEST_WITHOUT_CRITERION

#ifdef __cplusplus
extern "C" {
#endif

struct test {
    const char *suite;
    const char *name;
    void (*run)(void);
    struct test *next;
    void (*init)(void); /* runs first; NULL for none */
};

void test_register(struct test *test);

#ifdef __cplusplus
}
#endif

/* What may follow the names, in C, is `.init = function`. */
#ifdef __cplusplus
#define TEST_FIELDS(suite, name, function, ...) {suite, name, function, NULL, NULL}
#else
#define TEST_FIELDS(suite_name, test_name, function, ...)                                                              \
    {.suite = suite_name, .name = test_name, .run = function, __VA_ARGS__}
#endif

#define Test(suite, name, ...)                                                                                         \
    static void suite##_##name(void);                                                                                  \
    static struct test suite##_##name##_test = TEST_FIELDS(#suite, #name, suite##_##name, __VA_ARGS__);                \
    __attribute__((constructor)) static void suite##_##name##_register(void)                                           \
    {                                                                                                                  \
        test_register(&suite##_##name##_test);                                                                         \
    }                                                                                                                  \
    static void suite##_##name(void)

#else
#include <criterion/criterion.h>
#endif

#endif
