/* SPDX-License-Identifier: MIT
 *
 * A main that runs each test in a process of its own, one after the other, and counts: see suite.h.
 */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test *first;
static struct test **last = &first;

void
test_register(struct test *test)
{
    *last = test;
    last = &test->next;
}

static int
passes(const struct test *test)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        test->run();
        exit(0); /* the sanitizer's verdict, if there is one, becomes the status */
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int
main(void)
{
    int tested = 0;
    int failed = 0;
    for (const struct test *test = first; test != NULL; test = test->next, tested++)
        if (!passes(test)) {
            fprintf(stderr, "[FAIL] %s::%s\n", test->suite, test->name);
            failed++;
        }
    fprintf(stderr, "Tested: %d | Failing: %d\n", tested, failed);
    return failed != 0 || tested == 0;
}
