/* SPDX-License-Identifier: MIT
 *
 * text.h: what numbers, columns, labels and pointers look like, and that a text longer than its buffer arrives whole,
 * in order, and when it should.
 */
#include "text.h"

#include "support/check.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int ends[2];
static struct pm_text text;

static void
start(void)
{
    REQUIRE(pipe(ends) == 0, "no pipe");
    REQUIRE(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0, "fcntl");
    pm_text_start(&text, ends[1]);
}

/* What has arrived at the other end of the pipe since the last call. */
static const char *
arrived(void)
{
    static char bytes[CAPTURE_SIZE];
    ssize_t got = read(ends[0], bytes, sizeof bytes - 1);
    bytes[got > 0 ? got : 0] = '\0';
    return bytes;
}

static void
require_text(const char *expected)
{
    pm_text_flush(&text);
    const char *found = arrived();
    REQUIRE(strcmp(found, expected) == 0, "\"%s\" instead of \"%s\"", found, expected);
}

Test(text, numbers, .init = start)
{
    static const struct {
        uint64_t number;
        const char *text;
    } cases[] = {{0, "0"},       {1, "1"},     {9, "9"},
                 {10, "10"},     {255, "255"}, {4096, "4096"},
                 {10000000000, "10000000000"}, {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pm_text_number(&text, cases[i].number);
        require_text(cases[i].text);
    }
}

Test(text, columns_are_right_aligned_and_never_cut, .init = start)
{
    pm_text_column(&text, 42, 5);
    require_text("   42");
    pm_text_column(&text, 0, 1);
    require_text("0");
    pm_text_column(&text, 123456, 3);
    require_text("123456");
    pm_text_column(&text, UINT64_MAX, 22);
    require_text("  18446744073709551615");
}

Test(text, labels_are_left_aligned_and_never_cut, .init = start)
{
    pm_text_label(&text, "ab", 4);
    pm_text_label(&text, "", 2);
    pm_text_label(&text, "longer", 3);
    pm_text_string(&text, "|");
    require_text("ab    longer|");
}

Test(text, pointers_are_hexadecimal, .init = start)
{
    pm_text_pointer(&text, NULL);
    require_text("0x0");
    pm_text_pointer(&text, (void *)(uintptr_t)UINT64_C(0x7f0123456789abcd));
    require_text("0x7f0123456789abcd");
    pm_text_pointer(&text, (void *)UINTPTR_MAX);
    require_text("0xffffffffffffffff");
}

Test(text, bytes_are_taken_as_they_are, .init = start)
{
    pm_text_bytes(&text, "one=two", 3);
    pm_text_bytes(&text, "zzz", 0);
    require_text("one");
}

Test(text, nothing_is_written_before_the_buffer_is_full_or_flushed, .init = start)
{
    for (size_t i = 0; i < sizeof text.buffer; i++)
        pm_text_bytes(&text, "x", 1);
    REQUIRE(arrived()[0] == '\0', "a text that fits was written early");
    pm_text_bytes(&text, "y", 1);
    size_t length = strlen(arrived());
    REQUIRE(length == sizeof text.buffer, "%zu bytes were written for a full buffer", length);
    require_text("y");
    require_text("");
}

Test(text, a_long_text_arrives_whole, .init = start)
{
    static char expected[8000], piece[37];
    size_t length = 0;
    for (unsigned i = 0; length + sizeof piece < sizeof expected; i++) {
        size_t size = i % sizeof piece;
        memset(piece, 'a' + (int)(i % 26), size);
        memcpy(expected + length, piece, size);
        length += size;
        pm_text_bytes(&text, piece, size);
    }
    require_text(expected);
}

Test(text, a_closed_descriptor_is_no_error, .init = start)
{
    close(ends[1]);
    errno = 77;
    pm_text_string(&text, "nobody reads this");
    pm_text_flush(&text);
    REQUIRE(errno == 77, "errno became %d", errno);
    REQUIRE(text.length == 0, "%u bytes are kept", text.length);
}
