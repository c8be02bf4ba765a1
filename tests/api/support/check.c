/* SPDX-License-Identifier: MIT
 *
 * How a failed REQUIRE ends the program, and the sanitizers' options these tests rely on.
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
test_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    char text[1024];
    const char *slash = strrchr(file, '/');
    int used = snprintf(text, sizeof text, "%s:%d: not so: %s: ", slash ? slash + 1 : file, line, condition);
    va_list values;
    va_start(values, format);
    used += vsnprintf(text + used, sizeof text - (size_t)used - 1, format, values);
    va_end(values);
    if (used > (int)sizeof text - 2)
        used = (int)sizeof text - 2;
    text[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, text, (size_t)used);
    (void)written;
    abort();
}

#if TEST_SANITIZED
/* Requests that must fail are part of the contract; by default a sanitizer ends the program at them. Blocks of the system
 * allocator that wait in magazines look like leaks to a tool that does not know the magazines. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1:detect_leaks=0";
}
const char *__tsan_default_options(void);
const char *
__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif
