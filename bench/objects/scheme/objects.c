/* SPDX-License-Identifier: MIT
 *
 * Primitives about vectors, hash tables, ports, weak boxes, errors, and memory itself.
 */
#include "scheme.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Vectors ---- */

static bool
need_vector(struct scheme *s, value v, const char *name)
{
    return is(s, v, TYPE_VECTOR) || refuse(wrong_type(s, v, name, "a vector"));
}

static bool
need_item(struct scheme *s, value *a, const char *name, value **item)
{
    if (!need_vector(s, a[0], name))
        return false;
    int64_t index = is(s, a[1], TYPE_INTEGER) ? po_int_value(a[1]) : -1;
    if (index < 0 || (size_t)index >= po_item_count(a[0]))
        return refuse(wrong_type(s, a[1], name, "an index within the vector"));
    *item = vector_items(a[0]) + index;
    return true;
}

static value
do_make_vector(struct scheme *s, value *a, size_t count)
{
    if (!is(s, a[0], TYPE_INTEGER) || po_int_value(a[0]) < 0)
        return wrong_type(s, a[0], "make-vector", "a size");
    return make_vector(s, (size_t)po_int_value(a[0]), count == 2 ? a[1] : s->no);
}

static value
vector(struct scheme *s, value *a, size_t count)
{
    value result = make_vector(s, count, NULL);
    for (size_t i = 0; result != NULL && i < count; i++)
        vector_items(result)[i] = po_incref(a[i]);
    return result;
}

static value
vector_length(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return need_vector(s, a[0], "vector-length") ? make_integer(s, (int64_t)po_item_count(a[0])) : NULL;
}

static value
vector_ref(struct scheme *s, value *a, size_t count)
{
    (void)count;
    value *item;
    return need_item(s, a, "vector-ref", &item) ? po_incref(*item) : NULL;
}

static value
vector_set(struct scheme *s, value *a, size_t count)
{
    (void)count;
    value *item;
    if (!need_item(s, a, "vector-set!", &item))
        return NULL;
    po_set(item, a[2]);
    return nothing(s);
}

static value
vector_fill(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_vector(s, a[0], "vector-fill!"))
        return NULL;
    for (size_t i = 0; i < po_item_count(a[0]); i++)
        po_set(&vector_items(a[0])[i], a[1]);
    return nothing(s);
}

static value
vector_to_list(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_vector(s, a[0], "vector->list"))
        return NULL;
    value list = po_incref(s->nil);
    for (size_t i = po_item_count(a[0]); list != NULL && i-- > 0;)
        list = cons_steal(s, po_incref(vector_items(a[0])[i]), list);
    return list;
}

static value
list_to_vector(struct scheme *s, value *a, size_t count)
{
    (void)count;
    long length = list_length(s, a[0]);
    if (length < 0)
        return wrong_type(s, a[0], "list->vector", "a list");
    value result = make_vector(s, (size_t)length, NULL);
    value *item = result != NULL ? vector_items(result) : NULL;
    for (value rest = a[0]; item != NULL && is_pair(s, rest); rest = cdr(rest))
        *item++ = po_incref(car(rest));
    return result;
}

/* ---- Hash tables ---- */

static bool
need_table(struct scheme *s, value v, const char *name)
{
    return is(s, v, TYPE_TABLE) || refuse(wrong_type(s, v, name, "a hash table"));
}

static value
do_make_table(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    return make_table(s);
}

/* A failed comparison of keys leaves a condition behind; otherwise NULL means that there is no such key. */
static value
hash_table_ref(struct scheme *s, value *a, size_t count)
{
    if (!need_table(s, a[0], "hash-table-ref"))
        return NULL;
    value found = table_get(s, a[0], a[1]);
    if (found != NULL)
        return po_incref(found);
    return s->condition != NULL ? NULL : po_incref(count == 3 ? a[2] : s->no);
}

static value
hash_table_set(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_table(s, a[0], "hash-table-set!") || !table_put(s, a[0], a[1], a[2]))
        return NULL;
    return nothing(s);
}

static value
hash_table_delete(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_table(s, a[0], "hash-table-delete!") || !table_delete(s, a[0], a[1]))
        return NULL;
    return nothing(s);
}

static value
hash_table_contains(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_table(s, a[0], "hash-table-contains?"))
        return NULL;
    value found = table_get(s, a[0], a[1]);
    return found == NULL && s->condition != NULL ? NULL : boolean(s, found != NULL);
}

static value
hash_table_count(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_table(s, a[0], "hash-table-count"))
        return NULL;
    return make_integer(s, (int64_t)((struct table *)a[0])->count);
}

/* A list of (key . value), in no order. */
static value
hash_table_to_alist(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!need_table(s, a[0], "hash-table->alist"))
        return NULL;
    struct table *table = a[0];
    value list = po_incref(s->nil);
    for (size_t i = 0; list != NULL && i < po_item_count(table->keys); i++) {
        value content = vector_items(table->values)[i];
        if (content != NULL)
            list = cons_steal(s, cons(s, vector_items(table->keys)[i], content), list);
    }
    return list;
}

/* ---- Output ---- */

static FILE *
output(struct scheme *s, value *a, size_t count, size_t index)
{
    if (count <= index)
        return stdout;
    return is(s, a[index], TYPE_PORT) ? ((struct port *)a[index])->file : wrong_type(s, a[index], "display", "a port");
}

static value
show(struct scheme *s, value *a, size_t count, bool write)
{
    FILE *out = output(s, a, count, 1);
    if (out == NULL)
        return NULL;
    print(s, out, a[0], write);
    return nothing(s);
}

static value
display(struct scheme *s, value *a, size_t count)
{
    return show(s, a, count, false);
}

static value
write_datum(struct scheme *s, value *a, size_t count)
{
    return show(s, a, count, true);
}

static value
newline(struct scheme *s, value *a, size_t count)
{
    FILE *out = output(s, a, count, 0);
    if (out == NULL)
        return NULL;
    putc('\n', out);
    return nothing(s);
}

static value
open_output_string(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    struct port *port = po_new(s->type[TYPE_PORT]);
    if (port != NULL && (port->file = open_memstream(&port->text, &port->length)) == NULL)
        po_clear((value *)&port);
    return port;
}

static value
get_output_string(struct scheme *s, value *a, size_t count)
{
    (void)count;
    struct port *port = a[0];
    if (!is(s, port, TYPE_PORT))
        return wrong_type(s, port, "get-output-string", "a port");
    fflush(port->file);
    return make_text(s, port->text, port->length);
}

/* ---- Input: a whole file as a list of its data, for `load` ---- */

static char *
read_all(FILE *file, size_t *length)
{
    char *text = NULL, block[4096];
    size_t read;
    FILE *memory = open_memstream(&text, length);
    while (memory != NULL && (read = fread(block, 1, sizeof block, file)) > 0)
        fwrite(block, 1, read, memory);
    if (memory != NULL)
        fclose(memory);
    return text;
}

static value
read_list_of_data(struct scheme *s, const char *text, size_t length, value file_name)
{
    struct reader reader = {s, text, text + length, file_name, 1, 0};
    struct list list;
    value datum;
    enum read_status status;
    bool good = true;
    list_start(s, &list);
    while (good && (status = read_datum(&reader, &datum)) != READ_END) {
        if (status == READ_INCOMPLETE)
            fail_at(s, file_name, reader.line, "the file ends within a datum");
        good = status == READ_DATUM && list_add_steal(s, &list, datum);
    }
    return list_finish(&list, good);
}

static value
read_file(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_TEXT))
        return wrong_type(s, a[0], "load", "a file name");
    const char *name = text_bytes(a[0], NULL);
    FILE *file = fopen(name, "r");
    if (file == NULL)
        return fail(s, a[0], "load: cannot open the file");
    size_t length;
    char *text = read_all(file, &length);
    fclose(file);
    value file_name = symbol(s, name);
    value list = text != NULL && file_name != NULL ? read_list_of_data(s, text, length, file_name) : NULL;
    po_decref(file_name);
    free(text);
    return list;
}

/* ---- Weak boxes, memory ---- */

static value
make_weak_box(struct scheme *s, value *a, size_t count)
{
    (void)count;
    struct weak_box *box = po_new(s->type[TYPE_WEAK_BOX]);
    if (box != NULL && (box->weak = po_weak_create(a[0], NULL, NULL)) == NULL)
        po_clear((value *)&box);
    return box;
}

/* po_weak_get gives a new reference or NULL: there is no moment at which the object could die in between. */
static value
weak_box_value(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_WEAK_BOX))
        return wrong_type(s, a[0], "weak-box-value", "a weak box");
    value object = po_weak_get(((struct weak_box *)a[0])->weak);
    return object != NULL ? object : boolean(s, false);
}

static value
collect(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    return make_integer(s, (int64_t)po_gc_collect(s->heap, 2));
}

static value
object_count(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    struct po_heap_stats stats;
    po_heap_get_stats(s->heap, &stats);
    return make_integer(s, (int64_t)stats.objects);
}

static value
runtime(struct scheme *s, value *a, size_t count)
{
    (void)a, (void)count;
    return make_integer(s, (int64_t)clock() * 1000 / CLOCKS_PER_SEC);
}

/* ---- Errors ---- */

static value
error_message(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_ERROR))
        return wrong_type(s, a[0], "error-object-message", "an error");
    return po_incref(((struct error *)a[0])->message);
}

static value
error_irritants(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_ERROR))
        return wrong_type(s, a[0], "error-object-irritants", "an error");
    return po_incref(((struct error *)a[0])->irritants);
}

/* The whole message, as it is printed when nobody handles the error, without the place. */
static value
report_string(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (!is(s, a[0], TYPE_ERROR))
        return wrong_type(s, a[0], "condition/report-string", "an error");
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        return NULL;
    print_error_message(s, out, a[0]);
    fclose(out);
    value result = make_text(s, text, length);
    free(text);
    return result;
}

/* ---- Equality and kinds ---- */

static value
eqv(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, is_eqv(s, a[0], a[1]));
}

static value
equal(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int same = is_equal(s, a[0], a[1]);
    return same < 0 ? NULL : boolean(s, same);
}

static value
not(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, a[0] == s->no);
}

static value
is_boolean(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, a[0] == s->no || a[0] == s->yes);
}

static value
is_procedure(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, is(s, a[0], TYPE_CLOSURE) || is(s, a[0], TYPE_PRIMITIVE) || is(s, a[0], TYPE_CONTINUATION));
}

#define TYPE_TEST(function, type)                                   \
    static value function(struct scheme *s, value *a, size_t count) \
    {                                                               \
        (void)count;                                                \
        return boolean(s, is(s, a[0], type));                       \
    }
TYPE_TEST(is_vector, TYPE_VECTOR)
TYPE_TEST(is_table, TYPE_TABLE)
TYPE_TEST(is_error, TYPE_ERROR)

const struct primitive_spec object_primitives[] = {
    {"make-vector", do_make_vector, 1, 2, ORDINARY},
    {"vector", vector, 0, -1, ORDINARY},
    {"vector-length", vector_length, 1, 1, ORDINARY},
    {"vector-ref", vector_ref, 2, 2, ORDINARY},
    {"vector-set!", vector_set, 3, 3, ORDINARY},
    {"vector-fill!", vector_fill, 2, 2, ORDINARY},
    {"vector->list", vector_to_list, 1, 1, ORDINARY},
    {"list->vector", list_to_vector, 1, 1, ORDINARY},
    {"make-hash-table", do_make_table, 0, 0, ORDINARY},
    {"hash-table-ref/default", hash_table_ref, 3, 3, ORDINARY},
    {"hash-table-set!", hash_table_set, 3, 3, ORDINARY},
    {"hash-table-delete!", hash_table_delete, 2, 2, ORDINARY},
    {"hash-table-contains?", hash_table_contains, 2, 2, ORDINARY},
    {"hash-table-count", hash_table_count, 1, 1, ORDINARY},
    {"hash-table->alist", hash_table_to_alist, 1, 1, ORDINARY},
    {"display", display, 1, 2, ORDINARY},
    {"write", write_datum, 1, 2, ORDINARY},
    {"newline", newline, 0, 1, ORDINARY},
    {"open-output-string", open_output_string, 0, 0, ORDINARY},
    {"get-output-string", get_output_string, 1, 1, ORDINARY},
    {"%read-file", read_file, 1, 1, ORDINARY},
    {"make-weak-box", make_weak_box, 1, 1, ORDINARY},
    {"weak-box-value", weak_box_value, 1, 1, ORDINARY},
    {"gc", collect, 0, 0, ORDINARY},
    {"object-count", object_count, 0, 0, ORDINARY},
    {"runtime", runtime, 0, 0, ORDINARY},
    {"error-object-message", error_message, 1, 1, ORDINARY},
    {"error-object-irritants", error_irritants, 1, 1, ORDINARY},
    {"condition/report-string", report_string, 1, 1, ORDINARY},
    {"eq?", eqv, 2, 2, ORDINARY},
    {"eqv?", eqv, 2, 2, ORDINARY},
    {"equal?", equal, 2, 2, ORDINARY},
    {"not", not, 1, 1, ORDINARY},
    {"boolean?", is_boolean, 1, 1, ORDINARY},
    {"procedure?", is_procedure, 1, 1, ORDINARY},
    {"vector?", is_vector, 1, 1, ORDINARY},
    {"hash-table?", is_table, 1, 1, ORDINARY},
    {"error-object?", is_error, 1, 1, ORDINARY},
    {NULL, NULL, 0, 0, ORDINARY},
};
