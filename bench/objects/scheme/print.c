/* SPDX-License-Identifier: MIT
 *
 * Data to text. Nothing is allocated here, so borrowed references are all it needs. Rings and very deep data end in
 * dots: a list is printed up to the pair that closes its ring, and nothing follows what was too deep.
 */
#include "scheme.h"

#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH 200

static void print_at(struct scheme *s, FILE *out, value v, bool write, unsigned depth);

static void
print_text(FILE *out, value text, bool write)
{
    size_t length;
    const char *bytes = text_bytes(text, &length);
    if (!write) {
        fwrite(bytes, 1, length, out);
        return;
    }
    putc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            fputs("\\n", out);
        else if (bytes[i] == '\t')
            fputs("\\t", out);
        else if (bytes[i] == '"' || bytes[i] == '\\')
            fprintf(out, "\\%c", bytes[i]);
        else
            putc(bytes[i], out);
    }
    putc('"', out);
}

static void
print_character(FILE *out, int code, bool write)
{
    if (!write)
        putc(code, out);
    else if (code == ' ')
        fputs("#\\space", out);
    else if (code == '\n')
        fputs("#\\newline", out);
    else if (code == '\t')
        fputs("#\\tab", out);
    else
        fprintf(out, "#\\%c", code);
}

static void
print_list(struct scheme *s, FILE *out, value list, bool write, unsigned depth)
{
    value mark = NULL;
    size_t steps = 0;
    putc('(', out);
    print_at(s, out, car(list), write, depth + 1);
    for (value rest = cdr(list); rest != s->nil && !s->print_cut; rest = cdr(rest)) {
        if (!is_pair(s, rest)) {
            fputs(" . ", out);
            print_at(s, out, rest, write, depth + 1);
            break;
        }
        if (rest == list || rest == mark) {
            fputs(" ...", out);
            break;
        }
        if ((steps & (steps + 1)) == 0)
            mark = rest;
        steps++;
        putc(' ', out);
        print_at(s, out, car(rest), write, depth + 1);
    }
    putc(')', out);
}

static void
print_vector(struct scheme *s, FILE *out, value vector, bool write, unsigned depth)
{
    fputs("#(", out);
    for (size_t i = 0; i < po_item_count(vector) && !s->print_cut; i++) {
        if (i != 0)
            putc(' ', out);
        print_at(s, out, vector_items(vector)[i], write, depth + 1);
    }
    putc(')', out);
}

static void
print_symbol(FILE *out, value name)
{
    fputs(name != NULL ? po_string_bytes(name, NULL) : "lambda", out);
}

static void
print_opaque(struct scheme *s, FILE *out, value v)
{
    if (is(s, v, TYPE_CLOSURE)) {
        fputs("#<procedure ", out);
        print_symbol(out, ((struct closure *)v)->code->name);
        fputs(">", out);
    } else if (is(s, v, TYPE_PRIMITIVE)) {
        fprintf(out, "#<procedure %s>", ((struct primitive *)v)->spec->name);
    } else if (is(s, v, TYPE_TABLE)) {
        fprintf(out, "#<hash-table of %zu>", ((struct table *)v)->count);
    } else if (is(s, v, TYPE_ERROR)) {
        fputs("#<error ", out);
        print_error_message(s, out, v);
        putc('>', out);
    } else {
        fprintf(out, "#<%s>", po_type_name(po_type_of(v)));
    }
}

static void
print_at(struct scheme *s, FILE *out, value v, bool write, unsigned depth)
{
    if (depth == MAX_DEPTH || s->print_cut) {
        if (!s->print_cut)
            fputs("...", out);
        s->print_cut = true;
    } else if (is_pair(s, v))
        print_list(s, out, v, write, depth);
    else if (is(s, v, TYPE_VECTOR))
        print_vector(s, out, v, write, depth);
    else if (is(s, v, TYPE_INTEGER))
        fprintf(out, "%" PRId64, po_int_value(v));
    else if (is(s, v, TYPE_SYMBOL))
        print_symbol(out, v);
    else if (is(s, v, TYPE_TEXT))
        print_text(out, v, write);
    else if (is(s, v, TYPE_CHARACTER))
        print_character(out, ((struct character *)v)->code, write);
    else if (is(s, v, TYPE_SINGLETON))
        fputs(((struct singleton *)v)->text, out);
    else
        print_opaque(s, out, v);
}

void
print(struct scheme *s, FILE *out, value v, bool write)
{
    s->print_cut = false;
    print_at(s, out, v, write, 0);
}

/* The message, then the irritants as `write` shows them. */
void
print_error_message(struct scheme *s, FILE *out, value condition)
{
    struct error *error = condition;
    print(s, out, error->message, false);
    for (value rest = error->irritants; is_pair(s, rest); rest = cdr(rest)) {
        putc(' ', out);
        print(s, out, car(rest), true);
    }
}

/* One line: file, line, message. */
void
print_condition(struct scheme *s, FILE *out, value condition)
{
    if (!is(s, condition, TYPE_ERROR)) {
        fputs("scheme: error: ", out);
        print(s, out, condition, true);
    } else {
        struct error *error = condition;
        if (error->file != NULL)
            fprintf(out, "%s:%u: error: ", po_string_bytes(error->file, NULL), error->line);
        else
            fputs("scheme: error: ", out);
        print_error_message(s, out, condition);
    }
    putc('\n', out);
}
