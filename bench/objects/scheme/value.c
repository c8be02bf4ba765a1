/* SPDX-License-Identifier: MIT
 *
 * The types, and how values of them are made.
 */
#include "scheme.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- What the library needs to know ---- */

/* A type says where its objects keep references; that is all it takes for release and collection. A vector's and a
 * continuation's items are references; an environment has both a reference at an offset and items. */
static const uint16_t pair_references[] = {offsetof(struct pair, car), offsetof(struct pair, cdr), PO_END};
static const uint16_t text_references[] = {offsetof(struct text, bytes), PO_END};
static const uint16_t table_references[] = {offsetof(struct table, keys), offsetof(struct table, values), PO_END};
static const uint16_t code_references[] = {offsetof(struct code, constants), offsetof(struct code, name),
                                           offsetof(struct code, file), PO_END};
static const uint16_t environment_references[] = {offsetof(struct environment, parent), PO_END};
static const uint16_t closure_references[] = {offsetof(struct closure, code), offsetof(struct closure, environment),
                                              PO_END};
static const uint16_t global_references[] = {offsetof(struct global, name), offsetof(struct global, value), PO_END};
static const uint16_t error_references[] = {offsetof(struct error, message), offsetof(struct error, irritants),
                                            offsetof(struct error, file), PO_END};

/* `destroy` gives back what is not an object. It may not touch other objects, and these two have none. */
static void
destroy_port(void *object)
{
    struct port *port = object;
    if (port->file != NULL)
        fclose(port->file);
    free(port->text);
}

static void
destroy_weak_box(void *object)
{
    po_weak_destroy(((struct weak_box *)object)->weak);
}

/* PO_ACYCLIC is a promise that lets the collector leave objects out: nothing that such an object refers to leads back
 * to it. True of text (it has bytes of the library only), not of code: its constants can be changed by the program. */
static const struct po_type_spec specs[TYPES] = {
    [TYPE_SINGLETON] = {.name = "singleton", .size = sizeof(struct singleton), .flags = PO_ACYCLIC},
    [TYPE_PAIR] = {.name = "pair", .size = sizeof(struct pair), .references = pair_references},
    [TYPE_LOCATED_PAIR] = {.name = "located pair", .size = sizeof(struct located_pair), .references = pair_references},
    [TYPE_TEXT] = {.name = "text", .size = sizeof(struct text), .references = text_references, .flags = PO_ACYCLIC},
    [TYPE_CHARACTER] = {.name = "character", .size = sizeof(struct character), .flags = PO_ACYCLIC},
    [TYPE_VECTOR] = {.name = "vector", .item_size = sizeof(value), .items_are_references = true},
    [TYPE_TABLE] = {.name = "table", .size = sizeof(struct table), .references = table_references},
    [TYPE_CODE] = {.name = "code", .size = offsetof(struct code, instructions), .item_size = sizeof(struct instruction),
                   .references = code_references},
    [TYPE_ENVIRONMENT] = {.name = "environment", .size = sizeof(struct environment), .item_size = sizeof(value),
                          .references = environment_references, .items_are_references = true},
    [TYPE_CLOSURE] = {.name = "closure", .size = sizeof(struct closure), .references = closure_references},
    [TYPE_PRIMITIVE] = {.name = "primitive", .size = sizeof(struct primitive), .flags = PO_ACYCLIC},
    [TYPE_FORM] = {.name = "form", .size = sizeof(struct form), .flags = PO_ACYCLIC},
    [TYPE_CONTINUATION] = {.name = "continuation", .size = sizeof(struct continuation), .item_size = sizeof(value),
                           .items_are_references = true},
    [TYPE_GLOBAL] = {.name = "global", .size = sizeof(struct global), .references = global_references},
    [TYPE_ERROR] = {.name = "error", .size = sizeof(struct error), .references = error_references},
    [TYPE_PORT] = {.name = "port", .size = sizeof(struct port), .flags = PO_ACYCLIC, .destroy = destroy_port},
    [TYPE_WEAK_BOX] = {.name = "weak box", .size = sizeof(struct weak_box), .flags = PO_ACYCLIC,
                       .destroy = destroy_weak_box},
};

/* ---- Lists ---- */

value
cons_steal(struct scheme *s, value head, value tail)
{
    struct pair *pair = head != NULL && tail != NULL ? po_new(s->type[TYPE_PAIR]) : NULL;
    if (pair == NULL) {
        po_decref(head);
        po_decref(tail);
        return NULL;
    }
    pair->car = head; /* a new object's slots are NULL: a stolen reference is simply stored */
    pair->cdr = tail;
    return pair;
}

/* po_new may collect before `head` and `tail` are stored. They are safe: the caller owns them, or what does. */
value
cons(struct scheme *s, value head, value tail)
{
    return cons_steal(s, po_incref(head), po_incref(tail));
}

value
located_pair_steal(struct scheme *s, value head, value tail, uint32_t line)
{
    struct located_pair *pair = head != NULL && tail != NULL ? po_new(s->type[TYPE_LOCATED_PAIR]) : NULL;
    if (pair == NULL) {
        po_decref(head);
        po_decref(tail);
        return NULL;
    }
    *pair = (struct located_pair){{head, tail}, line};
    return pair;
}

/* Takes all its arguments, and is NULL if one of them is. */
value
list_steal(struct scheme *s, size_t count, ...)
{
    struct list list;
    bool good = true;
    va_list arguments;
    va_start(arguments, count);
    list_start(s, &list);
    while (count-- > 0)
        good = list_add_steal(s, &list, va_arg(arguments, value)) && good;
    va_end(arguments);
    return list_finish(&list, good);
}

void
list_start(struct scheme *s, struct list *list)
{
    list->head = po_incref(s->nil);
    list->last = NULL;
}

bool
list_add_steal(struct scheme *s, struct list *list, value item)
{
    value pair = cons_steal(s, item, po_incref(s->nil));
    if (pair == NULL)
        return false;
    po_set_steal(list->last == NULL ? &list->head : &((struct pair *)list->last)->cdr, pair);
    list->last = pair;
    return true;
}

value
list_finish(struct list *list, bool good)
{
    if (!good)
        po_clear(&list->head);
    return list->head;
}

/* A second pointer at half the speed meets the first one in a ring. */
long
list_length(const struct scheme *s, value list)
{
    long length = 0;
    value slow = list;
    for (; is_pair(s, list); list = cdr(list)) {
        if (length != 0 && list == slow)
            return -1;
        if (length++ % 2 == 1)
            slow = cdr(slow);
    }
    return list == s->nil ? length : -1;
}

/* ---- The others ---- */

value
symbol(struct scheme *s, const char *name)
{
    return po_intern(s->heap, name, strlen(name));
}

value
make_text(struct scheme *s, const char *bytes, size_t length)
{
    value string = po_string(s->heap, bytes, length);
    struct text *text = string != NULL ? po_new(s->type[TYPE_TEXT]) : NULL;
    if (text == NULL) {
        po_decref(string);
        return NULL;
    }
    text->bytes = string;
    return text;
}

const char *
text_bytes(value text, size_t *length)
{
    return po_string_bytes(((struct text *)text)->bytes, length);
}

value
make_vector(struct scheme *s, size_t count, value fill)
{
    value vector = po_new_items(s->type[TYPE_VECTOR], count);
    if (vector != NULL && fill != NULL)
        for (size_t i = 0; i < count; i++)
            vector_items(vector)[i] = po_incref(fill);
    return vector;
}

value
make_integer(struct scheme *s, int64_t number)
{
    return po_int(s->heap, number);
}

value
boolean(struct scheme *s, bool condition)
{
    return po_incref(condition ? s->yes : s->no);
}

value
nothing(struct scheme *s)
{
    return po_incref(s->unspecified);
}

struct global *
global_of(struct scheme *s, value name)
{
    struct global *global = table_get(s, s->globals, name);
    if (global != NULL)
        return global;
    global = po_new(s->type[TYPE_GLOBAL]);
    if (global == NULL)
        return NULL;
    global->name = po_incref(name);
    bool stored = table_put(s, s->globals, name, global);
    po_decref(global); /* the table has a reference of its own now */
    return stored ? global : NULL;
}

/* ---- Errors ---- */

value
make_error(struct scheme *s, value message, value irritants, value file, uint32_t line)
{
    struct error *error = po_new(s->type[TYPE_ERROR]);
    if (error == NULL)
        return NULL;
    *error = (struct error){po_incref(message), po_incref(irritants), po_incref(file), line};
    return error;
}

static value
set_condition(struct scheme *s, value message, value irritants, value file, uint32_t line)
{
    value error = message != NULL && irritants != NULL ? make_error(s, message, irritants, file, line) : NULL;
    po_decref(message);
    po_decref(irritants);
    po_set_steal(&s->condition, error); /* NULL: the machine puts s->out_of_memory there */
    return NULL;
}

value
fail(struct scheme *s, value irritant, const char *format, ...)
{
    char message[300];
    value file;
    uint32_t line;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    machine_place(s, &file, &line);
    return set_condition(s, make_text(s, message, strlen(message)),
                         irritant != NULL ? cons(s, irritant, s->nil) : po_incref(s->nil), file, line);
}

value
fail_at(struct scheme *s, value file, uint32_t line, const char *message)
{
    return set_condition(s, make_text(s, message, strlen(message)), po_incref(s->nil), file, line);
}

value
wrong_type(struct scheme *s, value argument, const char *procedure, const char *expected)
{
    return fail(s, argument, "%s: expected %s, got", procedure, expected);
}

/* ---- The beginning and the end ---- */

static value
make_singleton(struct scheme *s, const char *text)
{
    struct singleton *singleton = po_new(s->type[TYPE_SINGLETON]);
    if (singleton != NULL)
        singleton->text = text;
    return singleton;
}

static bool
make_types(struct scheme *s)
{
    value string = symbol(s, "symbol");
    value integer = make_integer(s, 0);
    if (string == NULL || integer == NULL)
        return false;
    s->type[TYPE_SYMBOL] = po_type_of(string);
    s->type[TYPE_INTEGER] = po_type_of(integer);
    po_decref(string);
    po_decref(integer);
    for (int i = TYPE_SINGLETON; i < TYPES; i++)
        if ((s->type[i] = po_type_create(s->heap, &specs[i])) == NULL)
            return false;
    return true;
}

static bool
make_constants(struct scheme *s)
{
    s->nil = make_singleton(s, "()");
    s->yes = make_singleton(s, "#t");
    s->no = make_singleton(s, "#f");
    s->unspecified = make_singleton(s, "#<unspecified>");
    s->end_of_file = make_singleton(s, "#<eof>");
    s->deleted = make_singleton(s, "#<deleted>");
    if (s->nil == NULL || s->yes == NULL || s->no == NULL || s->unspecified == NULL || s->end_of_file == NULL
        || s->deleted == NULL)
        return false;
    for (int i = 0; i < 256; i++) {
        struct character *character = s->characters[i] = po_new(s->type[TYPE_CHARACTER]);
        if (character == NULL)
            return false;
        character->code = i;
    }
    s->handlers = po_incref(s->nil);
    s->winds = po_incref(s->nil);
    value message = make_text(s, "out of memory", 13);
    s->out_of_memory = message != NULL ? make_error(s, message, s->nil, NULL, 0) : NULL;
    po_decref(message);
    s->globals = make_table(s);
    s->builtins = po_incref(s->globals);
    s->prelude = symbol(s, "prelude");
    return s->out_of_memory != NULL && s->globals != NULL && s->prelude != NULL;
}

bool
define_global(struct scheme *s, const char *name, value content)
{
    value key = symbol(s, name);
    struct global *global = key != NULL && content != NULL ? global_of(s, key) : NULL;
    if (global != NULL)
        po_set(&global->value, content);
    po_decref(key);
    return global != NULL;
}

static bool
define_primitives(struct scheme *s, const struct primitive_spec *spec)
{
    bool good = true;
    for (; good && spec->name != NULL; spec++) {
        struct primitive *primitive = po_new(s->type[TYPE_PRIMITIVE]);
        if (primitive != NULL)
            primitive->spec = spec;
        good = define_global(s, spec->name, primitive);
        po_decref(primitive);
    }
    return good;
}

static bool
define_forms(struct scheme *s, const struct form_spec *spec)
{
    bool good = true;
    for (; good && spec->name != NULL; spec++) {
        struct form *form = po_new(s->type[TYPE_FORM]);
        if (form != NULL)
            form->spec = spec;
        good = define_global(s, spec->name, form);
        po_decref(form);
    }
    return good;
}

static bool
load_prelude(struct scheme *s)
{
    struct reader reader = {s, prelude_text, prelude_text + prelude_length, s->prelude, 1, 0};
    value form;
    while (read_datum(&reader, &form) == READ_DATUM) {
        struct code *code = compile_program(s, form, s->prelude, reader.line);
        value result = code != NULL ? run(s, code) : NULL;
        po_decref(code);
        po_decref(form);
        if (result == NULL)
            return false;
        po_decref(result);
    }
    return s->condition == NULL;
}

/* The program gets globals of its own with the same values. */
static bool
separate_globals(struct scheme *s)
{
    struct table *builtins = s->builtins;
    value table = make_table(s);
    po_set_steal(&s->globals, table);
    for (size_t i = 0; table != NULL && i < po_item_count(builtins->keys); i++) {
        struct global *builtin = vector_items(builtins->values)[i], *global;
        if (builtin == NULL)
            continue;
        if ((global = global_of(s, builtin->name)) == NULL)
            return false;
        po_set(&global->value, builtin->value);
    }
    return table != NULL;
}

bool
scheme_create(struct scheme *s, size_t memory_limit)
{
    memset(s, 0, sizeof *s);
    s->heap = po_heap_create(&(struct po_heap_options){.memory_limit = memory_limit});
    return s->heap != NULL && make_types(s) && make_constants(s) && define_primitives(s, list_primitives)
           && define_primitives(s, number_primitives) && define_primitives(s, string_primitives)
           && define_primitives(s, object_primitives) && define_primitives(s, machine_primitives)
           && define_forms(s, core_forms) && define_forms(s, derived_forms) && load_prelude(s)
           && separate_globals(s);
}

/* Gives back every count that C owns. What is left then refers to itself only: globals to procedures, their code to
 * globals. po_heap_destroy collects that, and says how many objects are kept by a count that was forgotten. */
size_t
scheme_destroy(struct scheme *s)
{
    if (s->heap == NULL)
        return 0;
    machine_reset(s);
    free(s->stack);
    free(s->frames);
    value *roots[] = {&s->nil,     &s->yes,       &s->no,            &s->unspecified, &s->end_of_file,
                      &s->globals, &s->condition, &s->out_of_memory, &s->handlers,    &s->winds,
                      &s->prelude, &s->deleted,   &s->builtins};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
        po_clear(roots[i]);
    for (int i = 0; i < 256; i++)
        po_clear(&s->characters[i]);
    return po_heap_destroy(s->heap);
}
