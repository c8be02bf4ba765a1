/* SPDX-License-Identifier: MIT
 *
 * Strings, interned strings (point 10), integers.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

Test(strings, bytes_of_any_length)
{
    po_heap *heap = new_heap();
    static char bytes[3000];
    memset(bytes, 'x', sizeof bytes);
    bytes[1] = '\0';
    for (size_t length = 0; length < sizeof bytes; length += length < 600 ? 1 : 101) {
        size_t found = 77;
        void *string = po_string(heap, bytes, length);
        const char *text = po_string_bytes(string, &found);
        cr_assert_eq(found, length);
        cr_assert_eq(memcmp(text, bytes, length), 0);
        cr_assert_eq(text[length], '\0');
        cr_assert_eq(po_item_count(string), length);
        po_decref(string);
    }
    void *node = po_new(node_type(heap));
    errno = 0;
    cr_assert_null(po_string_bytes(node, NULL));
    cr_assert_eq(errno, EINVAL);
    po_decref(node);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(strings, interning_gives_the_one_string)
{
    po_heap *heap = new_heap();
    static void *strings[20000];
    char name[32];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 20000; i++) {
            int length = snprintf(name, sizeof name, "name%d", i);
            void *string = po_intern(heap, name, (size_t)length);
            if (round == 0)
                strings[i] = string;
            else
                cr_assert_eq(string, strings[i]);
            cr_assert_eq(po_refcount(string), (size_t)round + 1);
        }
    struct po_heap_stats stats;
    po_heap_get_stats(heap, &stats);
    cr_assert_eq(stats.interned, 20000);
    for (int i = 0; i < 20000; i++)
        for (int round = 0; round < 3; round++)
            po_decref(strings[i]);
    po_heap_get_stats(heap, &stats);
    cr_assert(stats.interned == 0 && stats.objects == 0);
    cr_assert_eq(po_intern(heap, NULL, 0), po_intern(heap, "", 0));
    cr_assert_eq(po_heap_destroy(heap), 1);
}

static po_heap *heap;
static void *again;

static void
intern_again(po_weak *weak, void *context)
{
    (void)weak;
    again = po_intern(heap, "text", 4);
    cr_assert_neq(again, context, "the dying string is found");
    cr_assert_eq(po_refcount(again), 1);
}

/* Point 10. */
Test(strings, a_dying_string_is_not_found)
{
    heap = new_heap();
    void *string = po_intern(heap, "text", 4);
    po_weak *weak = po_weak_create(string, intern_again, string);
    po_decref(string);
    cr_assert_not_null(again);
    cr_assert_eq(memcmp(po_string_bytes(again, NULL), "text", 4), 0);
    cr_assert_eq(po_intern(heap, "text", 4), again);
    po_decref(again);
    po_decref(again);
    po_weak_destroy(weak);
    cr_assert_eq(po_heap_destroy(heap), 0);
}

Test(strings, interned_ones_come_and_go)
{
    heap = new_heap();
    char name[32];
    for (int i = 0; i < 300000; i++) {
        int length = snprintf(name, sizeof name, "%d", i % 777 * 31);
        void *string = po_intern(heap, name, (size_t)length);
        cr_assert_eq(memcmp(po_string_bytes(string, NULL), name, (size_t)length + 1), 0);
        if (i % 3 != 0)
            po_decref(string);
        if (i % 3 == 0 && i % 2 == 0)
            po_decref(string);
    }
    po_heap_verify(heap);
    cr_assert_gt(po_heap_destroy(heap), 0);
}

Test(strings, small_integers_are_the_same_objects)
{
    heap = new_heap();
    for (int64_t value = -300; value < 600; value++) {
        void *one = po_int(heap, value), *two = po_int(heap, value);
        cr_assert_eq(po_int_value(one), value);
        bool small = value >= -5 && value <= 256;
        cr_assert_eq(one == two, small);
        cr_assert_eq(po_is_immortal(one), small);
        po_decref(one);
        po_decref(two);
    }
    void *most = po_int(heap, INT64_MIN);
    cr_assert_eq(po_int_value(most), INT64_MIN);
    po_decref(most);
    void *string = po_string(heap, "1", 1);
    errno = 0;
    cr_assert_eq(po_int_value(string), 0);
    cr_assert_eq(errno, EINVAL);
    po_decref(string);
    cr_assert_eq(po_heap_destroy(heap), 0);
}
