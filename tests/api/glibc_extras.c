/* SPDX-License-Identifier: MIT
 *
 * The entry points of glibc's <malloc.h> that report and tune: malloc_info, mallinfo, malloc_stats, mallopt. Standard
 * names only.
 */
#include "support/check.h"
#include "support/names.h"
#include "support/suite.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* mallinfo is, and is still called by programs */

enum { COUNT = 20000, SIZE = 100, CLASS = 112 };

static void *blocks[COUNT];

static void
take(void)
{
    for (int i = 0; i < COUNT; i++)
        blocks[i] = mem.malloc(SIZE);
}

static void
give(void)
{
    for (int i = 0; i < COUNT; i++)
        mem.free(blocks[i]);
}

Test(glibc_extras, mallinfo_counts_what_the_pools_hold)
{
    mem.free(mem.malloc(SIZE));
    struct mallinfo2 before = mallinfo2();
    struct mallinfo before_int = mallinfo();
    take();
    struct mallinfo2 during = mallinfo2();
    struct mallinfo during_int = mallinfo();
    give();
    struct mallinfo2 after = mallinfo2();
    size_t more = during.uordblks - before.uordblks;
    REQUIRE(more >= COUNT * (size_t)SIZE && more < COUNT * (size_t)CLASS * 11 / 10, "%zu more bytes in use", more);
    size_t more_int = (size_t)(during_int.uordblks - before_int.uordblks);
    REQUIRE(more_int >= COUNT * (size_t)SIZE && more_int < COUNT * (size_t)CLASS * 11 / 10, "%zu more bytes", more_int);
    REQUIRE(after.uordblks < before.uordblks + 65536, "%zu bytes in use, %zu before", after.uordblks, before.uordblks);
    REQUIRE(during.arena + during.hblkhd >= during.uordblks, "%zu + %zu bytes hold %zu", during.arena, during.hblkhd,
            during.uordblks);
}

Test(glibc_extras, mallinfo_counts_what_the_system_holds)
{
    struct mallinfo2 before = mallinfo2();
    void *large = mem.malloc(10 << 20);
    struct mallinfo2 during = mallinfo2();
    size_t more = during.uordblks + during.hblkhd - before.uordblks - before.hblkhd;
    REQUIRE(more >= 10 << 20, "%zu more bytes", more);
    mem.free(large);
}

/* A checker for the XML of malloc_info: elements nest, attributes are quoted, nothing else. Returns where it is
 * wrong. */
struct open_tags {
    const char *names[32];
    size_t lengths[32];
    int depth;
};

static const char *
skip_attributes(const char *at)
{
    for (;;) {
        while (isspace((unsigned char)*at))
            at++;
        if (*at == '>' || strncmp(at, "/>", 2) == 0)
            return at;
        size_t name = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-0123456789");
        if (name == 0 || strncmp(at + name, "=\"", 2) != 0)
            return NULL;
        at = strpbrk(at + name + 2, "\"<&");
        if (at == NULL || *at != '"')
            return NULL;
        at++;
    }
}

static const char *
check_element(struct open_tags *open, const char *at)
{
    int closing = at[1] == '/';
    const char *name = at + 1 + closing;
    size_t length = strcspn(name, " \t\n/>");
    if (closing) {
        int matches = open->depth > 0 && open->lengths[open->depth - 1] == length &&
                      strncmp(open->names[open->depth - 1], name, length) == 0 && name[length] == '>';
        open->depth -= matches;
        return matches ? name + length + 1 : NULL;
    }
    const char *end = length > 0 && isalpha((unsigned char)*name) ? skip_attributes(name + length) : NULL;
    if (end == NULL || *end == '/')
        return end == NULL ? NULL : end + 2;
    if (open->depth == 32)
        return NULL;
    open->names[open->depth] = name;
    open->lengths[open->depth++] = length;
    return end + 1;
}

/* NULL when `text` is well-formed, else the place where it stops being so. */
static const char *
ill_formed(const char *text)
{
    struct open_tags open = {.depth = 0};
    int roots = 0;
    if (strncmp(text, "<?xml", 5) == 0) {
        text = strstr(text, "?>");
        if (text == NULL)
            return "<?xml";
        text += 2;
    }
    while (*text != '\0') {
        if (*text == '<') {
            roots += open.depth == 0;
            const char *next = check_element(&open, text);
            if (next == NULL)
                return text;
            text = next;
        } else if (*text == '&' || *text == '>' || (open.depth == 0 && !isspace((unsigned char)*text))) {
            return text;
        } else {
            text++;
        }
    }
    return open.depth == 0 && roots == 1 ? NULL : text;
}

Test(glibc_extras, the_xml_checker_finds_faults)
{
    REQUIRE(ill_formed("<malloc version=\"1\">\n<a b=\"c\" d=\"e\"/><f>text</f>\n</malloc>\n") == NULL, "good");
    REQUIRE(ill_formed("<malloc><a></malloc></a>") != NULL, "nesting");
    REQUIRE(ill_formed("<malloc><a b=c/></malloc>") != NULL, "quotes");
    REQUIRE(ill_formed("<malloc>") != NULL && ill_formed("</malloc>") != NULL, "one end");
    REQUIRE(ill_formed("<a/><b/>") != NULL && ill_formed("") != NULL && ill_formed("x<a/>") != NULL, "one root");
    REQUIRE(ill_formed("<a>1 & 2</a>") != NULL, "entities");
}

Test(glibc_extras, malloc_info_writes_xml)
{
    char *text = NULL;
    size_t size = 0;
    take();
    FILE *stream = open_memstream(&text, &size);
    REQUIRE(malloc_info(0, stream) == 0, "malloc_info failed: %s", strerror(errno));
    fclose(stream);
    give();
    REQUIRE(strncmp(text, "<malloc version=\"1\"", 19) == 0, "it begins with: %.60s", text);
    const char *fault = ill_formed(text);
    REQUIRE(fault == NULL, "not well-formed at: %.80s", fault);
    mem.free(text);
}

Test(glibc_extras, malloc_info_knows_no_options)
{
    FILE *stream = fopen("/dev/null", "w");
    REQUIRE(malloc_info(1, stream) != 0, "malloc_info(1)");
    fclose(stream);
}

Test(glibc_extras, malloc_stats_writes_to_stderr)
{
    fflush(stderr);
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    long size = ftell(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    REQUIRE(size > 20, "%ld bytes", size);
    fclose(file);
}

/* A thread that has been cancelled writes all of it, as with glibc, and ends at its next cancellation point. */
static void *
print_when_cancelled(void *file)
{
    pthread_cancel(pthread_self());
    malloc_stats();
    fflush(stderr);
    *(long *)file = 1;
    pthread_testcancel();
    *(long *)file = 2;
    return NULL;
}

Test(glibc_extras, malloc_stats_is_no_cancellation_point)
{
    pthread_t thread;
    void *result = NULL;
    long progress = 0;
    int nowhere = open("/dev/null", O_WRONLY);
    int saved = dup(STDERR_FILENO);
    dup2(nowhere, STDERR_FILENO);
    pthread_create(&thread, NULL, print_when_cancelled, &progress);
    pthread_join(thread, &result);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(nowhere);
    REQUIRE(progress == 1 && result == PTHREAD_CANCELED, "the thread ended after step %ld", progress);
}

Test(glibc_extras, mallopt_is_accepted)
{
    REQUIRE(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1, "M_MMAP_THRESHOLD");
    REQUIRE(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1, "M_TRIM_THRESHOLD");
    REQUIRE(mallopt(M_ARENA_MAX, 1) == 1, "M_ARENA_MAX");
    int result = mallopt(M_MXFAST, 0);
    REQUIRE(result == 0 || result == 1, "M_MXFAST: %d", result);
    result = mallopt(12345, 1);
    REQUIRE(result == 0 || result == 1, "an option nobody knows: %d", result);
    take();
    void *large = mem.malloc(900000);
    memset(large, 1, 900000);
    mem.free(large);
    give();
}
