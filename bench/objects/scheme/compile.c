/* SPDX-License-Identifier: MIT
 *
 * Data to code for the machine. An expression is borrowed from whoever compiles it, and so is everything in it: names
 * of variables are used without counting them. What the compiler makes, constants and lists of names, it owns.
 *
 * A tail expression ends in a return or a tail call by itself; every other one leaves a value on the stack.
 */
#include "scheme.h"

#include "machine.h"

#include <stdlib.h>
#include <string.h>

/* The variables of a lambda or a let, in the order of the slots of their environment. A scope without variables has no
 * environment. */
struct scope {
    struct scope *outer;
    value names; /* owned: a list of symbols */
};

/* A lambda under compilation. */
struct unit {
    struct scheme *s;
    struct scope *scope;
    struct instruction *instructions; /* scratch in plain memory */
    size_t count, capacity;
    value *constants; /* plain memory too, but each item owns a count */
    size_t constant_count, constant_capacity;
};

static bool compile(struct unit *u, value expression, bool tail);

value
syntax_error(struct scheme *s, value expression)
{
    value keyword = is_pair(s, expression) ? car(expression) : expression;
    bool form = is(s, keyword, TYPE_FORM);
    return fail(s, expression, "%s: bad syntax in", form                         ? ((struct form *)keyword)->spec->name
                                                    : is(s, keyword, TYPE_SYMBOL) ? po_string_bytes(keyword, NULL)
                                                                                  : "expression");
}

/* ---- Instructions and constants ---- */

static bool
make_room(void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    size_t next = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = realloc(*array, next * size);
    if (grown == NULL)
        return false;
    *array = grown;
    *capacity = next;
    return true;
}

static bool
emit(struct unit *u, enum operation operation, size_t depth, size_t argument)
{
    if (depth > UINT16_MAX || argument > UINT32_MAX) {
        fail(u->s, NULL, "the expression is too large");
        return false;
    }
    if (!make_room((void **)&u->instructions, u->count, &u->capacity, sizeof *u->instructions))
        return false;
    u->instructions[u->count++] =
        (struct instruction){(uint16_t)operation, (uint16_t)depth, (uint32_t)argument, u->s->compile_line};
    return true;
}

/* A jump whose target is set by land(). */
static size_t
emit_jump(struct unit *u, enum operation operation, bool *good)
{
    *good = *good && emit(u, operation, 0, 0);
    return u->count - 1;
}

static void
land(struct unit *u, size_t jump)
{
    u->instructions[jump].argument = (uint32_t)u->count;
}

/* Takes the constant. */
static bool
emit_constant_steal(struct unit *u, enum operation operation, value constant)
{
    if (constant == NULL
        || !make_room((void **)&u->constants, u->constant_count, &u->constant_capacity, sizeof *u->constants)) {
        po_decref(constant);
        return false;
    }
    u->constants[u->constant_count] = constant;
    return emit(u, operation, 0, u->constant_count++);
}

static bool
emit_constant(struct unit *u, enum operation operation, value constant)
{
    return emit_constant_steal(u, operation, po_incref(constant));
}

/* A constant as an expression. */
static bool
compile_constant(struct unit *u, value constant, bool tail)
{
    return emit_constant(u, OP_CONSTANT, constant) && (!tail || emit(u, OP_RETURN, 0, 0));
}

/* ---- Variables ---- */

static long
position(const struct scheme *s, value names, value name)
{
    for (long i = 0; is_pair(s, names); names = cdr(names), i++)
        if (car(names) == name)
            return i;
    return -1;
}

/* Whether the name is a local variable, and where. */
static bool
find_local(const struct unit *u, value name, size_t *depth, size_t *slot)
{
    *depth = 0;
    for (struct scope *scope = u->scope; scope != NULL; scope = scope->outer) {
        long place = position(u->s, scope->names, name);
        if (place >= 0) {
            *slot = (size_t)place;
            return true;
        }
        *depth += scope->names != u->s->nil;
    }
    return false;
}

/* The form that a keyword means here, borrowed, or NULL. Expanded code has the form itself in the keyword's place. */
static struct form *
form_of(const struct unit *u, value keyword)
{
    size_t depth, slot;
    struct global *global;
    if (is(u->s, keyword, TYPE_FORM))
        return keyword;
    if (!is(u->s, keyword, TYPE_SYMBOL) || find_local(u, keyword, &depth, &slot))
        return NULL;
    global = table_get(u->s, u->s->globals, keyword);
    return global != NULL && global->value != NULL && is(u->s, global->value, TYPE_FORM) ? global->value : NULL;
}

static bool
is_form(const struct unit *u, value expression, const char *name)
{
    struct form *form = is_pair(u->s, expression) ? form_of(u, car(expression)) : NULL;
    return form != NULL && strcmp(form->spec->name, name) == 0;
}

static bool
compile_variable(struct unit *u, value name, bool tail)
{
    size_t depth, slot;
    bool good;
    if (find_local(u, name, &depth, &slot)) {
        good = depth == 0 ? emit(u, OP_LOCAL, 0, slot) : emit(u, OP_OUTER, depth, slot);
    } else if (form_of(u, name) != NULL) {
        fail(u->s, name, "a keyword is no variable:");
        return false;
    } else {
        struct global *global = global_of(u->s, name);
        good = global != NULL && emit_constant(u, OP_GLOBAL, global);
    }
    return good && (!tail || emit(u, OP_RETURN, 0, 0));
}

static bool
compile_set(struct unit *u, value name, bool define, bool tail)
{
    size_t depth, slot;
    bool good;
    if (find_local(u, name, &depth, &slot)) {
        good = emit(u, OP_SET_LOCAL, depth, slot);
    } else {
        struct global *global = global_of(u->s, name);
        good = global != NULL && emit_constant(u, define ? OP_DEFINE_GLOBAL : OP_SET_GLOBAL, global);
    }
    return good && (!tail || emit(u, OP_RETURN, 0, 0));
}

/* ---- Bodies ---- */

static bool
compile_sequence(struct unit *u, value body, bool tail)
{
    struct scheme *s = u->s;
    if (body == s->nil)
        return compile_constant(u, s->unspecified, tail);
    for (; is_pair(s, cdr(body)); body = cdr(body))
        if (!compile(u, car(body), false) || !emit(u, OP_POP, 0, 0))
            return false;
    return compile(u, car(body), tail);
}

/* Adds the names that a body defines, in begin too. */
static bool
add_definitions(struct unit *u, struct list *names, value body)
{
    struct scheme *s = u->s;
    bool good = true;
    for (; good && is_pair(s, body); body = cdr(body)) {
        value form = car(body), name;
        if (is_form(u, form, "begin"))
            good = add_definitions(u, names, cdr(form));
        if (!is_form(u, form, "define") || !is_pair(s, cdr(form)))
            continue;
        name = car(cdr(form));
        if (is_pair(s, name))
            name = car(name);
        if (is(s, name, TYPE_SYMBOL) && position(s, names->head, name) < 0)
            good = list_add_steal(s, names, po_incref(name));
    }
    return good;
}

/* Takes the list of variables that the environment starts with. `scope` is the caller's while the scope is open. */
static bool
open_scope(struct unit *u, struct scope *scope, struct list *names, value body)
{
    bool good = add_definitions(u, names, body);
    scope->names = list_finish(names, good);
    scope->outer = u->scope;
    if (good)
        u->scope = scope;
    return good;
}

static void
close_scope(struct unit *u)
{
    po_clear(&u->scope->names);
    u->scope = u->scope->outer;
}

/* ---- Lambda ---- */

static struct code *
finish_unit(struct unit *u, value name)
{
    struct scheme *s = u->s;
    struct code *code = po_new_items(s->type[TYPE_CODE], u->count);
    if (code != NULL && (code->constants = make_vector(s, u->constant_count, NULL)) == NULL)
        po_clear((value *)&code);
    if (code == NULL)
        return NULL;
    memcpy(code->instructions, u->instructions, u->count * sizeof *u->instructions);
    if (u->constant_count != 0) /* the counts move into the vector */
        memcpy(vector_items(code->constants), u->constants, u->constant_count * sizeof(value));
    u->constant_count = 0;
    code->name = po_incref(name);
    code->file = po_incref(s->compile_file);
    return code;
}

static void
free_unit(struct unit *u)
{
    for (size_t i = 0; i < u->constant_count; i++)
        po_decref(u->constants[i]);
    free(u->constants);
    free(u->instructions);
}

/* The names of parameters, a rest one last. */
static bool
read_parameters(struct unit *u, value parameters, struct list *names, size_t *required, bool *rest)
{
    struct scheme *s = u->s;
    bool good = true;
    for (*required = 0; good && is_pair(s, parameters); parameters = cdr(parameters), ++*required)
        good = is(s, car(parameters), TYPE_SYMBOL) && position(s, names->head, car(parameters)) < 0
               && list_add_steal(s, names, po_incref(car(parameters)));
    *rest = parameters != s->nil;
    if (good && *rest)
        good = is(s, parameters, TYPE_SYMBOL) && position(s, names->head, parameters) < 0
               && list_add_steal(s, names, po_incref(parameters));
    return good;
}

static struct code *
compile_lambda_code(struct unit *outer, value parameters, value body, value name)
{
    struct scheme *s = outer->s;
    struct unit u = {.s = s, .scope = outer->scope};
    struct scope scope;
    struct list names;
    struct code *code = NULL;
    size_t required;
    bool rest;
    list_start(s, &names);
    if (!read_parameters(&u, parameters, &names, &required, &rest)) {
        list_finish(&names, false);
        fail(s, parameters, "lambda: bad parameters");
        return NULL;
    }
    if (!open_scope(&u, &scope, &names, body))
        return NULL;
    if (compile_sequence(&u, body, true) && (code = finish_unit(&u, name)) != NULL) {
        code->required = (uint32_t)required;
        code->rest = rest;
        code->slots = (uint32_t)list_length(s, scope.names);
    }
    close_scope(&u);
    free_unit(&u);
    return code;
}

/* `name` may be NULL. */
static bool
compile_named_lambda(struct unit *u, value parameters, value body, value name, bool tail)
{
    if (list_length(u->s, body) < 1)
        return refuse(syntax_error(u->s, body));
    struct code *code = compile_lambda_code(u, parameters, body, name);
    return emit_constant_steal(u, OP_CLOSURE, code) && (!tail || emit(u, OP_RETURN, 0, 0));
}

static bool
compile_lambda(struct unit *u, value x, bool tail)
{
    if (list_length(u->s, x) < 3)
        return refuse(syntax_error(u->s, x));
    return compile_named_lambda(u, car(cdr(x)), cdr(cdr(x)), NULL, tail);
}

/* The value of a definition: a lambda gets the variable's name. */
static bool
compile_initial(struct unit *u, value expression, value name)
{
    if (is_form(u, expression, "lambda") && list_length(u->s, expression) >= 3)
        return compile_named_lambda(u, car(cdr(expression)), cdr(cdr(expression)), name, false);
    return compile(u, expression, false);
}

/* ---- The core forms ---- */

static bool
compile_quote(struct unit *u, value x, bool tail)
{
    if (list_length(u->s, x) != 2)
        return refuse(syntax_error(u->s, x));
    return compile_constant(u, car(cdr(x)), tail);
}

static bool
compile_if(struct unit *u, value x, bool tail)
{
    long length = list_length(u->s, x);
    if (length != 3 && length != 4)
        return refuse(syntax_error(u->s, x));
    bool good = compile(u, car(cdr(x)), false);
    size_t otherwise = emit_jump(u, OP_JUMP_IF_FALSE, &good), end = 0;
    good = good && compile(u, car(cdr(cdr(x))), tail);
    if (!tail)
        end = emit_jump(u, OP_JUMP, &good);
    if (!good)
        return false;
    land(u, otherwise);
    value rest = cdr(cdr(cdr(x)));
    good = is_pair(u->s, rest) ? compile(u, car(rest), tail) : compile_constant(u, u->s->unspecified, tail);
    if (good && !tail)
        land(u, end);
    return good;
}

/* (define name [expression]), (define (name . parameters) body ...). Inside a body the name is in the scope already. */
static bool
compile_define(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    long length = list_length(s, x);
    value target = length >= 2 ? car(cdr(x)) : NULL;
    bool procedure = target != NULL && is_pair(s, target) && length >= 3;
    value name = procedure ? car(target) : target;
    if (name == NULL || !is(s, name, TYPE_SYMBOL) || (!procedure && length > 3))
        return refuse(syntax_error(s, x));
    if (u->scope != NULL && position(s, u->scope->names, name) < 0) {
        fail(s, name, "define: not at the level of a body:");
        return false;
    }
    if (procedure ? !compile_named_lambda(u, cdr(target), cdr(cdr(x)), name, false)
        : length == 3 ? !compile_initial(u, car(cdr(cdr(x))), name)
                      : !compile_constant(u, s->unspecified, false))
        return false;
    return compile_set(u, name, true, tail);
}

static bool
compile_assignment(struct unit *u, value x, bool tail)
{
    if (list_length(u->s, x) != 3 || !is(u->s, car(cdr(x)), TYPE_SYMBOL))
        return refuse(syntax_error(u->s, x));
    return compile(u, car(cdr(cdr(x))), false) && compile_set(u, car(cdr(x)), false, tail);
}

static bool
compile_begin(struct unit *u, value x, bool tail)
{
    return list_length(u->s, x) < 0 ? refuse(syntax_error(u->s, x)) : compile_sequence(u, cdr(x), tail);
}

/* and, or: all but the last jump to the end with their value. */
static bool
compile_junction(struct unit *u, value x, bool tail, enum operation operation, value empty)
{
    struct scheme *s = u->s;
    long length = list_length(s, x);
    if (length <= 1)
        return length < 0 ? refuse(syntax_error(s, x)) : compile_constant(u, empty, tail);
    size_t *jumps = malloc((size_t)length * sizeof *jumps), count = 0;
    bool good = jumps != NULL;
    for (x = cdr(x); good && is_pair(s, cdr(x)); x = cdr(x)) {
        good = compile(u, car(x), false);
        jumps[count++] = emit_jump(u, operation, &good);
    }
    good = good && compile(u, car(x), tail);
    for (size_t i = 0; good && i < count; i++)
        land(u, jumps[i]);
    free(jumps);
    return good && (!tail || emit(u, OP_RETURN, 0, 0));
}

static bool
compile_and(struct unit *u, value x, bool tail)
{
    return compile_junction(u, x, tail, OP_AND, u->s->yes);
}

static bool
compile_or(struct unit *u, value x, bool tail)
{
    return compile_junction(u, x, tail, OP_OR, u->s->no);
}

/* ---- let and letrec ---- */

bool
check_bindings(struct scheme *s, value x)
{
    bool good = list_length(s, x) >= 3 && list_length(s, car(cdr(x))) >= 0;
    for (value rest = good ? car(cdr(x)) : s->nil; good && is_pair(s, rest); rest = cdr(rest))
        good = list_length(s, car(rest)) == 2 && is(s, car(car(rest)), TYPE_SYMBOL);
    if (!good)
        syntax_error(s, x);
    return good;
}

/* The scope of the bindings' names and of the body's definitions. */
static bool
open_let_scope(struct unit *u, struct scope *scope, value bindings, value body)
{
    struct scheme *s = u->s;
    struct list names;
    bool good = true;
    list_start(s, &names);
    for (value rest = bindings; good && is_pair(s, rest); rest = cdr(rest)) {
        value name = car(car(rest));
        if (position(s, names.head, name) >= 0)
            good = refuse(fail(s, name, "a variable is bound twice:"));
        else
            good = list_add_steal(s, &names, po_incref(name));
    }
    if (!good) {
        list_finish(&names, false);
        return false;
    }
    return open_scope(u, scope, &names, body);
}

static bool
compile_scope_body(struct unit *u, value body, bool tail)
{
    bool environment = u->scope->names != u->s->nil;
    bool good = compile_sequence(u, body, tail) && (tail || !environment || emit(u, OP_LEAVE, 0, 0));
    close_scope(u);
    return good;
}

static bool
compile_let(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    struct scope scope;
    if (list_length(s, x) >= 3 && is(s, car(cdr(x)), TYPE_SYMBOL)) {
        value expanded = expand_named_let(s, x);
        bool good = expanded != NULL && compile(u, expanded, tail);
        po_decref(expanded);
        return good;
    }
    if (!check_bindings(s, x))
        return false;
    value bindings = car(cdr(x)), body = cdr(cdr(x));
    for (value rest = bindings; is_pair(s, rest); rest = cdr(rest))
        if (!compile_initial(u, car(cdr(car(rest))), car(car(rest))))
            return false;
    if (!open_let_scope(u, &scope, bindings, body))
        return false;
    size_t slots = (size_t)list_length(s, scope.names);
    if (slots != 0 && !emit(u, OP_LET, (size_t)list_length(s, bindings), slots)) {
        close_scope(u);
        return false;
    }
    return compile_scope_body(u, body, tail);
}

/* letrec and letrec*: the variables are there, without values, before the first expression. */
static bool
compile_letrec(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    struct scope scope;
    if (!check_bindings(s, x) || !open_let_scope(u, &scope, car(cdr(x)), cdr(cdr(x))))
        return false;
    size_t slots = (size_t)list_length(s, scope.names), slot = 0;
    bool good = slots == 0 || emit(u, OP_LET, 0, slots);
    for (value rest = car(cdr(x)); good && is_pair(s, rest); rest = cdr(rest))
        good = compile_initial(u, car(cdr(car(rest))), car(car(rest))) && emit(u, OP_SET_LOCAL, 0, slot++)
               && emit(u, OP_POP, 0, 0);
    if (!good) {
        close_scope(u);
        return false;
    }
    return compile_scope_body(u, cdr(cdr(x)), tail);
}

/* ---- case ---- */

/* The key stays on the stack while it is compared; each body begins by dropping it. */
static bool
compile_clause(struct unit *u, value clause, bool tail, bool *is_else)
{
    struct scheme *s = u->s;
    value data = is_pair(s, clause) ? car(clause) : NULL;
    bool good = data != NULL && list_length(s, clause) >= 2;
    *is_else = good && is(s, data, TYPE_SYMBOL) && strcmp(po_string_bytes(data, NULL), "else") == 0;
    if (!good || (!*is_else && list_length(s, data) < 0))
        return refuse(syntax_error(s, clause));
    size_t count = *is_else ? 0 : (size_t)list_length(s, data);
    size_t *hits = malloc((count + 1) * sizeof *hits);
    good = hits != NULL;
    for (size_t i = 0; good && i < count; i++, data = cdr(data)) {
        good = emit_constant(u, OP_MATCH, car(data));
        hits[i] = emit_jump(u, OP_JUMP_IF_TRUE, &good);
    }
    size_t miss = *is_else ? 0 : emit_jump(u, OP_JUMP, &good);
    for (size_t i = 0; good && i < count; i++)
        land(u, hits[i]);
    free(hits);
    good = good && emit(u, OP_POP, 0, 0) && compile_sequence(u, cdr(clause), tail);
    if (good && !*is_else) {
        if (!tail)
            emit_jump(u, OP_JUMP, &good); /* the last instruction of the clause: compile_case lands it */
        land(u, miss);
    }
    return good;
}

static bool
compile_case(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    long length = list_length(s, x);
    if (length < 3)
        return refuse(syntax_error(s, x));
    bool good = compile(u, car(cdr(x)), false), is_else = false;
    size_t *ends = malloc((size_t)length * sizeof *ends), count = 0;
    good = good && ends != NULL;
    for (value rest = cdr(cdr(x)); good && !is_else && is_pair(s, rest); rest = cdr(rest)) {
        good = compile_clause(u, car(rest), tail, &is_else);
        if (good && !is_else && !tail)
            ends[count++] = u->count - 1;
    }
    if (good && !is_else)
        good = emit(u, OP_POP, 0, 0) && compile_constant(u, s->unspecified, tail);
    for (size_t i = 0; good && i < count; i++)
        land(u, ends[i]);
    free(ends);
    return good;
}

const struct form_spec core_forms[] = {
    {"quote", compile_quote, NULL},   {"if", compile_if, NULL},         {"define", compile_define, NULL},
    {"lambda", compile_lambda, NULL}, {"begin", compile_begin, NULL},   {"set!", compile_assignment, NULL},
    {"and", compile_and, NULL},       {"or", compile_or, NULL},         {"let", compile_let, NULL},
    {"case", compile_case, NULL},     {"letrec", compile_letrec, NULL}, {"letrec*", compile_letrec, NULL},
    {NULL, NULL, NULL},
};

/* ---- Expressions ---- */

static bool
compile_call(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    long length = list_length(s, x);
    uint32_t line = s->compile_line;
    if (length < 0)
        return refuse(syntax_error(s, x));
    for (; is_pair(s, x); x = cdr(x))
        if (!compile(u, car(x), false))
            return false;
    s->compile_line = line;
    return emit(u, tail ? OP_TAIL_CALL : OP_CALL, 0, (size_t)length - 1);
}

static bool
compile_form(struct unit *u, struct form *form, value x, bool tail)
{
    if (form->spec->compile != NULL)
        return form->spec->compile(u, x, tail);
    value expanded = form->spec->expand(u->s, x);
    bool good = expanded != NULL && compile(u, expanded, tail);
    po_decref(expanded);
    return good;
}

static bool
compile(struct unit *u, value x, bool tail)
{
    struct scheme *s = u->s;
    if (is(s, x, TYPE_SYMBOL))
        return compile_variable(u, x, tail);
    if (is(s, x, TYPE_GLOBAL)) /* from expand.c: the variable whatever its name means here */
        return emit_constant(u, OP_GLOBAL, x) && (!tail || emit(u, OP_RETURN, 0, 0));
    if (x == s->nil)
        return refuse(syntax_error(s, x));
    if (!is_pair(s, x))
        return compile_constant(u, x, tail);
    if (s->nesting == MAX_NESTING) {
        fail(s, NULL, "the expressions are nested too deeply");
        return false;
    }
    uint32_t line = s->compile_line;
    if (is(s, x, TYPE_LOCATED_PAIR))
        s->compile_line = ((struct located_pair *)x)->line;
    s->nesting++;
    struct form *form = form_of(u, car(x));
    bool good = form != NULL ? compile_form(u, form, x, tail) : compile_call(u, x, tail);
    s->nesting--;
    if (good)
        s->compile_line = line;
    return good;
}

/* Code without parameters for an expression of the top level. `file` is borrowed. */
struct code *
compile_program(struct scheme *s, value expression, value file, uint32_t line)
{
    struct unit u = {.s = s};
    s->compile_file = po_incref(file);
    s->compile_line = line;
    s->nesting = 0;
    struct code *code = compile(&u, expression, true) ? finish_unit(&u, NULL) : NULL;
    po_clear(&s->compile_file);
    free_unit(&u);
    return code;
}
