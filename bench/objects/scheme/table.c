/* SPDX-License-Identifier: MIT
 *
 * Equality, and hash tables: two vectors in a struct, so the table needs no code for release or collection. Objects do
 * not move, so an address is a good hash of an identity.
 */
#include "scheme.h"

#include <string.h>

#define MAX_DEPTH 1000 /* of nesting that equal? follows on the C stack; along a list it is a loop */

/* ---- Equality ---- */

bool
is_eqv(const struct scheme *s, value a, value b)
{
    if (a == b)
        return true;
    return is(s, a, TYPE_INTEGER) && is(s, b, TYPE_INTEGER) && po_int_value(a) == po_int_value(b);
}

static bool
same_bytes(value a, value b)
{
    size_t a_length, b_length;
    const char *a_bytes = text_bytes(a, &a_length), *b_bytes = text_bytes(b, &b_length);
    return a_length == b_length && memcmp(a_bytes, b_bytes, a_length) == 0;
}

/* 1, 0, or -1: too deep, or a ring. */
static int
equal(const struct scheme *s, value a, value b, unsigned depth)
{
    size_t steps = 0;
    value mark = a;
    if (depth == MAX_DEPTH)
        return -1;
    for (; is_pair(s, a) && is_pair(s, b); a = cdr(a), b = cdr(b)) {
        if (a == b)
            return 1;
        int heads = equal(s, car(a), car(b), depth + 1);
        if (heads != 1)
            return heads;
        /* A ring comes back to a mark that is set at each power of two. Rings are as equal as we can see. */
        if (a == mark && steps != 0)
            return 1;
        if ((steps & (steps + 1)) == 0)
            mark = cdr(a);
        steps++;
    }
    if (is(s, a, TYPE_TEXT) && is(s, b, TYPE_TEXT))
        return same_bytes(a, b);
    if (!is(s, a, TYPE_VECTOR) || !is(s, b, TYPE_VECTOR) || a == b)
        return is_eqv(s, a, b);
    size_t count = po_item_count(a);
    int items = po_item_count(b) == count;
    for (size_t i = 0; i < count && items == 1; i++)
        items = equal(s, vector_items(a)[i], vector_items(b)[i], depth + 1);
    return items;
}

int
is_equal(struct scheme *s, value a, value b)
{
    int result = equal(s, a, b, 0);
    if (result < 0)
        fail(s, NULL, "equal?: the data are nested too deeply");
    return result;
}

/* ---- Hashes ---- */

static uint64_t
mix(uint64_t word)
{
    word *= 0x9e3779b97f4a7c15u;
    return word ^ word >> 32;
}

static uint64_t
hash(const struct scheme *s, value key, unsigned depth)
{
    uint64_t sum = 0;
    if (is(s, key, TYPE_SYMBOL))
        return mix((uintptr_t)key >> 3);
    if (is(s, key, TYPE_INTEGER))
        return mix((uint64_t)po_int_value(key));
    if (is(s, key, TYPE_TEXT)) {
        size_t length;
        const char *bytes = text_bytes(key, &length);
        for (size_t i = 0; i < length; i++)
            sum = (sum ^ (unsigned char)bytes[i]) * 0x100000001b3u;
        return mix(sum + length);
    }
    if (is(s, key, TYPE_VECTOR))
        return mix(po_item_count(key) + 77);
    if (!is_pair(s, key))
        return mix((uintptr_t)key >> 3);
    for (; is_pair(s, key) && depth < 8; key = cdr(key), depth++)
        sum = mix(sum + hash(s, car(key), depth + 1));
    return is_pair(s, key) ? sum : mix(sum + hash(s, key, depth));
}

/* ---- Tables ---- */

value
make_table(struct scheme *s)
{
    struct table *table = po_new(s->type[TYPE_TABLE]);
    if (table == NULL)
        return NULL;
    table->keys = make_vector(s, 8, NULL);
    table->values = make_vector(s, 8, NULL);
    if (table->keys == NULL || table->values == NULL)
        po_clear((value *)&table);
    return table;
}

/* The place of the key, or the free one where it belongs. -1: an error in equal?. */
static long
find(struct scheme *s, const struct table *table, value key)
{
    size_t mask = po_item_count(table->keys) - 1;
    for (size_t i = hash(s, key, 0);; i++) {
        value other = vector_items(table->keys)[i & mask];
        if (other == NULL || other == key)
            return (long)(i & mask);
        if (other == s->deleted || is(s, key, TYPE_SYMBOL))
            continue;
        int same = is_equal(s, other, key);
        if (same != 0)
            return same < 0 ? -1 : (long)(i & mask);
    }
}

/* Doubles, or only drops the deleted entries. References move from vector to vector: no count changes. */
static bool
grow(struct scheme *s, struct table *table)
{
    size_t old_size = po_item_count(table->keys);
    size_t size = table->count * 2 >= old_size ? old_size * 2 : old_size;
    struct table next = {make_vector(s, size, NULL), make_vector(s, size, NULL), table->count, table->count};
    if (next.keys == NULL || next.values == NULL) {
        po_decref(next.keys);
        po_decref(next.values);
        return false;
    }
    for (size_t i = 0; i < old_size; i++) {
        value *key = &vector_items(table->keys)[i], *content = &vector_items(table->values)[i];
        if (*key == NULL || *key == s->deleted)
            continue;
        size_t place = hash(s, *key, 0);
        while (vector_items(next.keys)[place & (size - 1)] != NULL)
            place++;
        vector_items(next.keys)[place & (size - 1)] = *key;
        vector_items(next.values)[place & (size - 1)] = *content;
        *key = *content = NULL;
    }
    table->count = next.count;
    table->used = next.used;
    po_set_steal(&table->keys, next.keys);
    po_set_steal(&table->values, next.values);
    return true;
}

value
table_get(struct scheme *s, value object, value key)
{
    struct table *table = object;
    long place = find(s, table, key);
    return place < 0 ? NULL : vector_items(table->values)[place];
}

bool
table_put(struct scheme *s, value object, value key, value content)
{
    struct table *table = object;
    if ((table->used + 1) * 4 > po_item_count(table->keys) * 3 && !grow(s, table))
        return false;
    long place = find(s, table, key);
    if (place < 0)
        return false;
    if (vector_items(table->keys)[place] == NULL) {
        vector_items(table->keys)[place] = po_incref(key);
        table->count++;
        table->used++;
    }
    po_set(&vector_items(table->values)[place], content);
    return true;
}

bool
table_delete(struct scheme *s, value object, value key)
{
    struct table *table = object;
    long place = find(s, table, key);
    if (place >= 0 && vector_items(table->keys)[place] != NULL) {
        po_set(&vector_items(table->keys)[place], s->deleted);
        po_clear(&vector_items(table->values)[place]);
        table->count--;
    }
    return place >= 0;
}
