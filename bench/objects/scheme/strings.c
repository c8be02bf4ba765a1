/* SPDX-License-Identifier: MIT
 *
 * Primitives about strings, symbols and characters. A string is a box with an immutable string of the library, so a
 * conversion between string and symbol copies no box, and string-set! puts other bytes into the box. A character is a
 * byte.
 */
#include "scheme.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *
need_text(struct scheme *s, value v, const char *name, size_t *length)
{
    return is(s, v, TYPE_TEXT) ? text_bytes(v, length) : wrong_type(s, v, name, "a string");
}

/* An index from `least` to `most`. */
static bool
need_index(struct scheme *s, value v, const char *name, size_t least, size_t most, size_t *index)
{
    int64_t number = is(s, v, TYPE_INTEGER) ? po_int_value(v) : -1;
    if (number < 0 || (size_t)number < least || (size_t)number > most)
        return refuse(wrong_type(s, v, name, "an index within the string"));
    *index = (size_t)number;
    return true;
}

static bool
need_character(struct scheme *s, value v, const char *name, int *code)
{
    if (!is(s, v, TYPE_CHARACTER))
        return refuse(wrong_type(s, v, name, "a character"));
    *code = ((struct character *)v)->code;
    return true;
}

static value
make_character(struct scheme *s, int code)
{
    return po_incref(s->characters[code & 255]);
}

/* ---- Strings ---- */

static value
string_length(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length;
    return need_text(s, a[0], "string-length", &length) != NULL ? make_integer(s, (int64_t)length) : NULL;
}

static value
string_ref(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length, index;
    const char *bytes = need_text(s, a[0], "string-ref", &length);
    if (bytes == NULL)
        return NULL;
    if (length == 0)
        return wrong_type(s, a[1], "string-ref", "an index within the string");
    return need_index(s, a[1], "string-ref", 0, length - 1, &index) ? make_character(s, bytes[index]) : NULL;
}

/* Other strings may share the bytes: new ones. */
static value
string_set(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length, index;
    int code;
    const char *bytes = need_text(s, a[0], "string-set!", &length);
    if (bytes == NULL || !need_character(s, a[2], "string-set!", &code))
        return NULL;
    if (length == 0 || !need_index(s, a[1], "string-set!", 0, length - 1, &index))
        return wrong_type(s, a[1], "string-set!", "an index within the string");
    char *copy = malloc(length);
    if (copy == NULL)
        return NULL;
    memcpy(copy, bytes, length);
    copy[index] = (char)code;
    value changed = po_string(s->heap, copy, length);
    free(copy);
    if (changed == NULL)
        return NULL;
    po_set_steal(&((struct text *)a[0])->bytes, changed);
    return nothing(s);
}

static value
substring(struct scheme *s, value *a, size_t count)
{
    size_t length, start, end;
    const char *bytes = need_text(s, a[0], "substring", &length);
    if (bytes == NULL || !need_index(s, a[1], "substring", 0, length, &start))
        return NULL;
    end = length;
    if (count == 3 && !need_index(s, a[2], "substring", start, length, &end))
        return NULL;
    return make_text(s, bytes + start, end - start);
}

static value
string_append(struct scheme *s, value *a, size_t count)
{
    size_t total = 0, length;
    for (size_t i = 0; i < count; i++, total += length)
        if (need_text(s, a[i], "string-append", &length) == NULL)
            return NULL;
    char *joined = malloc(total + 1), *end = joined;
    for (size_t i = 0; joined != NULL && i < count; i++, end += length) {
        const char *bytes = text_bytes(a[i], &length);
        memcpy(end, bytes, length);
    }
    value result = joined != NULL ? make_text(s, joined, total) : NULL;
    free(joined);
    return result;
}

/* A second box with the same bytes. */
static value
string_copy(struct scheme *s, value *a, size_t count)
{
    if (count > 1)
        return substring(s, a, count);
    if (!is(s, a[0], TYPE_TEXT))
        return wrong_type(s, a[0], "string-copy", "a string");
    struct text *copy = po_new(s->type[TYPE_TEXT]);
    if (copy != NULL)
        copy->bytes = po_incref(((struct text *)a[0])->bytes);
    return copy;
}

static value
make_string(struct scheme *s, value *a, size_t count)
{
    size_t length;
    int code = ' ';
    if (!need_index(s, a[0], "make-string", 0, PTRDIFF_MAX, &length)
        || (count == 2 && !need_character(s, a[1], "make-string", &code)))
        return NULL;
    char *bytes = malloc(length + 1);
    if (bytes == NULL)
        return NULL;
    memset(bytes, code, length);
    value result = make_text(s, bytes, length);
    free(bytes);
    return result;
}

static value
string_to_list(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length;
    const char *bytes = need_text(s, a[0], "string->list", &length);
    value list = bytes != NULL ? po_incref(s->nil) : NULL;
    while (list != NULL && length-- > 0)
        list = cons_steal(s, make_character(s, bytes[length]), list);
    return list;
}

static value
list_to_string(struct scheme *s, value *a, size_t count)
{
    (void)count;
    long length = list_length(s, a[0]);
    int code = 0;
    if (length < 0)
        return wrong_type(s, a[0], "list->string", "a list");
    char *bytes = malloc((size_t)length + 1), *end = bytes;
    bool good = bytes != NULL;
    for (value rest = a[0]; good && is_pair(s, rest); rest = cdr(rest)) {
        good = need_character(s, car(rest), "list->string", &code);
        *end++ = (char)code;
    }
    value result = good ? make_text(s, bytes, (size_t)length) : NULL;
    free(bytes);
    return result;
}

/* Where the second string is in the first one, or #f. */
static value
string_search(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length, part_length;
    const char *bytes = need_text(s, a[0], "string-search", &length);
    const char *part = bytes != NULL ? need_text(s, a[1], "string-search", &part_length) : NULL;
    if (part == NULL)
        return NULL;
    const char *found = memmem(bytes, length, part, part_length);
    return found != NULL ? make_integer(s, found - bytes) : boolean(s, false);
}

static value
compare(struct scheme *s, value *a, size_t count, const char *name, char operation)
{
    size_t left_length, right_length;
    bool good = true;
    if (need_text(s, a[0], name, &left_length) == NULL)
        return NULL;
    for (size_t i = 1; i < count; i++, left_length = right_length) {
        const char *left = text_bytes(a[i - 1], NULL), *right = need_text(s, a[i], name, &right_length);
        if (right == NULL)
            return NULL;
        int order = memcmp(left, right, left_length < right_length ? left_length : right_length);
        if (order == 0)
            order = (left_length > right_length) - (left_length < right_length);
        good = good && (operation == '=' ? order == 0 : operation == '<' ? order < 0 : order > 0);
    }
    return boolean(s, good);
}

static value
string_equal(struct scheme *s, value *a, size_t count)
{
    return compare(s, a, count, "string=?", '=');
}

static value
string_less(struct scheme *s, value *a, size_t count)
{
    return compare(s, a, count, "string<?", '<');
}

static value
string_greater(struct scheme *s, value *a, size_t count)
{
    return compare(s, a, count, "string>?", '>');
}

/* ---- Symbols ---- */

static value
string_to_symbol(struct scheme *s, value *a, size_t count)
{
    (void)count;
    size_t length;
    const char *bytes = need_text(s, a[0], "string->symbol", &length);
    return bytes != NULL ? po_intern(s->heap, bytes, length) : NULL;
}

/* The symbol's own bytes, in a box: a string of the library never changes. */
static value
symbol_to_string(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_SYMBOL))
        return wrong_type(s, a[0], "symbol->string", "a symbol");
    struct text *text = po_new(s->type[TYPE_TEXT]);
    if (text != NULL)
        text->bytes = po_incref(a[0]);
    return text;
}

/* A string that is not interned is no other symbol's object. */
static value
generate_symbol(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    return po_string(s->heap, "gensym", 6);
}

/* ---- Characters ---- */

static value
char_to_integer(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int code;
    return need_character(s, a[0], "char->integer", &code) ? make_integer(s, code) : NULL;
}

static value
integer_to_char(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t code = is(s, a[0], TYPE_INTEGER) ? po_int_value(a[0]) : -1;
    if (code < 0 || code > 255)
        return wrong_type(s, a[0], "integer->char", "an integer from 0 to 255");
    return make_character(s, (int)code);
}

#define CHARACTER_TEST(function, name, test)                        \
    static value function(struct scheme *s, value *a, size_t count) \
    {                                                               \
        int code;                                                   \
        (void)count;                                                \
        return need_character(s, a[0], name, &code) ? boolean(s, test(code) != 0) : NULL; \
    }
CHARACTER_TEST(is_alphabetic, "char-alphabetic?", isalpha)
CHARACTER_TEST(is_numeric, "char-numeric?", isdigit)
CHARACTER_TEST(is_whitespace, "char-whitespace?", isspace)

static value
char_upcase(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int code;
    return need_character(s, a[0], "char-upcase", &code) ? make_character(s, toupper(code)) : NULL;
}

static value
char_downcase(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int code;
    return need_character(s, a[0], "char-downcase", &code) ? make_character(s, tolower(code)) : NULL;
}

static value
char_equal(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int left, right;
    if (!need_character(s, a[0], "char=?", &left) || !need_character(s, a[1], "char=?", &right))
        return NULL;
    return boolean(s, left == right);
}

static value
char_less(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int left, right;
    if (!need_character(s, a[0], "char<?", &left) || !need_character(s, a[1], "char<?", &right))
        return NULL;
    return boolean(s, left < right);
}

#define TYPE_TEST(function, type)                                   \
    static value function(struct scheme *s, value *a, size_t count) \
    {                                                               \
        (void)count;                                                \
        return boolean(s, is(s, a[0], type));                       \
    }
TYPE_TEST(is_string, TYPE_TEXT)
TYPE_TEST(is_symbol, TYPE_SYMBOL)
TYPE_TEST(is_character, TYPE_CHARACTER)

const struct primitive_spec string_primitives[] = {
    {"string-length", string_length, 1, 1, ORDINARY},
    {"string-ref", string_ref, 2, 2, ORDINARY},
    {"string-set!", string_set, 3, 3, ORDINARY},
    {"substring", substring, 2, 3, ORDINARY},
    {"string-append", string_append, 0, -1, ORDINARY},
    {"string-copy", string_copy, 1, 3, ORDINARY},
    {"make-string", make_string, 1, 2, ORDINARY},
    {"string->list", string_to_list, 1, 1, ORDINARY},
    {"list->string", list_to_string, 1, 1, ORDINARY},
    {"string-search", string_search, 2, 2, ORDINARY},
    {"string=?", string_equal, 1, -1, ORDINARY},
    {"string<?", string_less, 1, -1, ORDINARY},
    {"string>?", string_greater, 1, -1, ORDINARY},
    {"string->symbol", string_to_symbol, 1, 1, ORDINARY},
    {"symbol->string", symbol_to_string, 1, 1, ORDINARY},
    {"gensym", generate_symbol, 0, 0, ORDINARY},
    {"char->integer", char_to_integer, 1, 1, ORDINARY},
    {"integer->char", integer_to_char, 1, 1, ORDINARY},
    {"char-alphabetic?", is_alphabetic, 1, 1, ORDINARY},
    {"char-numeric?", is_numeric, 1, 1, ORDINARY},
    {"char-whitespace?", is_whitespace, 1, 1, ORDINARY},
    {"char-upcase", char_upcase, 1, 1, ORDINARY},
    {"char-downcase", char_downcase, 1, 1, ORDINARY},
    {"char=?", char_equal, 2, 2, ORDINARY},
    {"char<?", char_less, 2, 2, ORDINARY},
    {"string?", is_string, 1, 1, ORDINARY},
    {"symbol?", is_symbol, 1, 1, ORDINARY},
    {"char?", is_character, 1, 1, ORDINARY},
    {NULL, NULL, 0, 0, ORDINARY},
};
