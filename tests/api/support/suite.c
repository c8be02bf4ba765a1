/* SPDX-License-Identifier: MIT
 *
 * A main that runs each test in a process of its own, one after the other, and counts: see suite.h. Arguments choose
 * among them: names of suites, and suite::name for single tests.
 */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
        if (test->init != NULL)
            test->init();
        test->run();
        exit(0); /* the sanitizer's verdict, if there is one, becomes the status */
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static int
is_chosen(const struct test *test, char *const *choice)
{
    char name[256];
    snprintf(name, sizeof name, "%s::%s", test->suite, test->name);
    if (*choice == NULL)
        return 1;
    for (; *choice != NULL; choice++)
        if (strcmp(*choice, test->suite) == 0 || strcmp(*choice, name) == 0)
            return 1;
    return 0;
}

int
main(int count, char **arguments)
{
    int tested = 0;
    int failed = 0;
    for (const struct test *test = first; test != NULL; test = test->next) {
        if (!is_chosen(test, arguments + (count > 0)))
            continue;
        tested++;
        if (!passes(test)) {
            fprintf(stderr, "[FAIL] %s::%s\n", test->suite, test->name);
            failed++;
        }
    }
    fprintf(stderr, "Tested: %d | Failing: %d\n", tested, failed);
    return failed != 0 || tested == 0;
}
