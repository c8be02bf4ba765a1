/* SPDX-License-Identifier: MIT
 *
 * Text to data. Each list that is being read is a local variable that owns it; the collector may run at any cons, and
 * finds the list's count one larger than the references it knows of. Nothing is registered.
 */
#include "scheme.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum read_status
bad(struct reader *r, const char *message)
{
    fail_at(r->s, r->file, r->line, message);
    return READ_ERROR;
}

/* ---- Space and comments ---- */

static bool
is_delimiter(char c)
{
    return isspace((unsigned char)c) || strchr("()[]\";'`,", c) != NULL;
}

static bool
skip_block_comment(struct reader *r)
{
    unsigned depth = 0;
    for (; r->at + 1 < r->end; r->at++) {
        if (r->at[0] == '\n')
            r->line++;
        if (r->at[0] == '#' && r->at[1] == '|') {
            depth++;
            r->at++;
        } else if (r->at[0] == '|' && r->at[1] == '#') {
            r->at++;
            if (--depth == 0) {
                r->at++;
                return true;
            }
        }
    }
    r->at = r->end;
    return false;
}

/* READ_DATUM: something is there. */
static enum read_status
skip_space(struct reader *r)
{
    while (r->at < r->end) {
        if (*r->at == '\n')
            r->line++;
        if (*r->at == ';' || (r->line == 1 && r->at[0] == '#' && r->end - r->at > 1 && r->at[1] == '!')) {
            while (r->at < r->end && *r->at != '\n')
                r->at++;
        } else if (r->at[0] == '#' && r->end - r->at > 1 && r->at[1] == '|') {
            if (!skip_block_comment(r))
                return READ_INCOMPLETE;
        } else if (r->at[0] == '#' && r->end - r->at > 1 && r->at[1] == ';') {
            value ignored;
            r->at += 2;
            enum read_status status = read_datum(r, &ignored);
            if (status != READ_DATUM)
                return status == READ_END ? READ_INCOMPLETE : status;
            po_decref(ignored);
        } else if (isspace((unsigned char)*r->at)) {
            r->at++;
        } else {
            return READ_DATUM;
        }
    }
    return READ_END;
}

/* ---- Lists and vectors ---- */

static enum read_status
read_tail(struct reader *r, struct list *list, char close)
{
    value tail;
    enum read_status status = read_datum(r, &tail);
    if (status != READ_DATUM)
        return status == READ_END ? READ_INCOMPLETE : status;
    if (list->last == NULL) {
        po_decref(tail);
        return bad(r, "nothing stands before the dot");
    }
    po_set_steal(&((struct pair *)list->last)->cdr, tail);
    status = skip_space(r);
    if (status != READ_DATUM)
        return status == READ_END ? READ_INCOMPLETE : status;
    return *r->at++ == close ? READ_DATUM : bad(r, "more than one datum stands behind the dot");
}

/* Up to the closing bracket, which is read too. */
static enum read_status
read_items(struct reader *r, struct list *list, char close)
{
    for (;;) {
        value item;
        enum read_status status = skip_space(r);
        if (status != READ_DATUM)
            return status == READ_END ? READ_INCOMPLETE : status;
        if (*r->at == ')' || *r->at == ']')
            return *r->at++ == close ? READ_DATUM : bad(r, "the closing bracket is of the wrong kind");
        if (*r->at == '.' && r->end - r->at > 1 && is_delimiter(r->at[1])) {
            r->at++;
            return read_tail(r, list, close);
        }
        uint32_t line = r->line;
        if ((status = read_datum(r, &item)) != READ_DATUM)
            return status == READ_END ? READ_INCOMPLETE : status;
        value pair = located_pair_steal(r->s, item, po_incref(r->s->nil), line);
        if (pair == NULL)
            return READ_ERROR;
        po_set_steal(list->last == NULL ? &list->head : &((struct pair *)list->last)->cdr, pair);
        list->last = pair;
    }
}

static enum read_status
read_list(struct reader *r, value *datum, char close)
{
    struct list list;
    list_start(r->s, &list);
    enum read_status status = read_items(r, &list, close);
    *datum = list_finish(&list, status == READ_DATUM);
    return status;
}

static enum read_status
read_vector(struct reader *r, value *datum)
{
    value list;
    enum read_status status = read_list(r, &list, ')');
    if (status != READ_DATUM)
        return status;
    long count = list_length(r->s, list);
    *datum = count >= 0 ? make_vector(r->s, (size_t)count, NULL) : NULL;
    value *item = *datum != NULL ? vector_items(*datum) : NULL;
    for (value rest = list; item != NULL && is_pair(r->s, rest); rest = cdr(rest))
        *item++ = po_incref(car(rest));
    po_decref(list);
    if (count < 0)
        return bad(r, "a vector has no dot");
    return *datum != NULL ? READ_DATUM : READ_ERROR;
}

/* 'x is (quote x). */
static enum read_status
read_quoted(struct reader *r, value *datum, const char *name, size_t length)
{
    value quoted;
    uint32_t line = r->line;
    r->at += length;
    enum read_status status = read_datum(r, &quoted);
    if (status != READ_DATUM)
        return status == READ_END ? READ_INCOMPLETE : status;
    *datum = located_pair_steal(r->s, symbol(r->s, name), cons_steal(r->s, quoted, po_incref(r->s->nil)), line);
    return *datum != NULL ? READ_DATUM : READ_ERROR;
}

/* ---- Atoms ---- */

static enum read_status
read_string(struct reader *r, value *datum)
{
    char *bytes = malloc((size_t)(r->end - r->at)); /* scratch, no datum */
    size_t length = 0;
    enum read_status status = bytes != NULL ? READ_INCOMPLETE : READ_ERROR;
    for (r->at++; status == READ_INCOMPLETE && r->at < r->end; r->at++) {
        char c = *r->at;
        if (c == '"') {
            r->at++;
            *datum = make_text(r->s, bytes, length);
            status = *datum != NULL ? READ_DATUM : READ_ERROR;
            break;
        }
        if (c == '\n')
            r->line++;
        if (c == '\\' && r->at + 1 < r->end) {
            const char *escapes = "n\nt\tr\r\\\\\"\"0\0a\a", *found;
            c = *++r->at;
            for (found = escapes; found < escapes + 14 && *found != c; found += 2)
                continue;
            if (found < escapes + 14)
                c = found[1];
            else
                status = bad(r, "a string has an unknown escape");
        }
        bytes[length++] = c;
    }
    free(bytes);
    return status;
}

static const struct {
    const char *name;
    int code;
} character_names[] = {{"space", ' '}, {"newline", '\n'}, {"tab", '\t'}, {"return", '\r'}, {"null", 0}, {"nul", 0}};

static enum read_status
read_character(struct reader *r, value *datum)
{
    const char *name = r->at += 2;
    if (r->at == r->end)
        return READ_INCOMPLETE;
    for (r->at++; r->at < r->end && !is_delimiter(*r->at); r->at++)
        continue;
    size_t length = (size_t)(r->at - name);
    int code = length == 1 ? (unsigned char)*name : -1;
    for (size_t i = 0; i < sizeof character_names / sizeof character_names[0]; i++)
        if (strlen(character_names[i].name) == length && memcmp(character_names[i].name, name, length) == 0)
            code = character_names[i].code;
    if (code < 0)
        return bad(r, "a character has an unknown name");
    *datum = po_incref(r->s->characters[code]);
    return READ_DATUM;
}

value
parse_integer(struct scheme *s, const char *bytes, size_t length, int base)
{
    char digits[80], *end;
    if (length == 0 || length >= sizeof digits || isspace((unsigned char)bytes[0]))
        return NULL;
    memcpy(digits, bytes, length);
    digits[length] = '\0';
    errno = 0;
    long long number = strtoll(digits, &end, base);
    return errno == 0 && end == digits + length ? make_integer(s, number) : NULL;
}

/* A symbol, an integer, #t or #f. */
static enum read_status
read_word(struct reader *r, value *datum)
{
    const char *word = r->at;
    while (r->at < r->end && !is_delimiter(*r->at))
        r->at++;
    size_t length = (size_t)(r->at - word);
    size_t sign = word[0] == '-' || word[0] == '+';
    *datum = NULL;
    if ((length == 2 && memcmp(word, "#t", 2) == 0) || (length == 5 && memcmp(word, "#true", 5) == 0))
        *datum = po_incref(r->s->yes);
    else if ((length == 2 && memcmp(word, "#f", 2) == 0) || (length == 6 && memcmp(word, "#false", 6) == 0))
        *datum = po_incref(r->s->no);
    else if (word[0] == '#')
        return bad(r, "unknown syntax that begins with #");
    else if (length > sign && strspn(word + sign, "0123456789") >= length - sign) {
        if ((*datum = parse_integer(r->s, word, length, 10)) == NULL)
            return bad(r, "an integer does not fit in 64 bits");
    } else {
        *datum = po_intern(r->s->heap, word, length);
    }
    return *datum != NULL ? READ_DATUM : READ_ERROR;
}

static enum read_status
read_one(struct reader *r, value *datum)
{
    char next = r->end - r->at > 1 ? r->at[1] : '\0';
    switch (*r->at) {
    case '(':
    case '[':
        return read_list(r, datum, *r->at++ == '(' ? ')' : ']');
    case ')':
    case ']':
        r->at++;
        return bad(r, "a closing bracket has no opening one");
    case '\'':
        return read_quoted(r, datum, "quote", 1);
    case '`':
        return read_quoted(r, datum, "quasiquote", 1);
    case ',':
        return next == '@' ? read_quoted(r, datum, "unquote-splicing", 2) : read_quoted(r, datum, "unquote", 1);
    case '"':
        return read_string(r, datum);
    case '#':
        if (next == '(') {
            r->at += 2;
            return read_vector(r, datum);
        }
        if (next == '\\')
            return read_character(r, datum);
        break;
    }
    return read_word(r, datum);
}

/* The next datum, new. `*datum` is NULL unless the status is READ_DATUM; with READ_ERROR s->condition says why. */
enum read_status
read_datum(struct reader *r, value *datum)
{
    *datum = NULL;
    enum read_status status = skip_space(r);
    if (status != READ_DATUM)
        return status;
    if (r->nesting == MAX_NESTING)
        return bad(r, "the data are nested too deeply");
    r->nesting++;
    status = read_one(r, datum);
    r->nesting--;
    return status;
}
