/* SPDX-License-Identifier: MIT
 *
 * The machine. Its stacks are C arrays that own what is in them. They are not registered anywhere: each slot's count is
 * what makes it a root, so pushing is a store, and arguments move from the stack into the environment of a call without
 * a count being touched.
 *
 * A call in tail position replaces the code and the environment; any other one leaves a frame. The C stack is not used
 * for calls of Scheme procedures, so recursion ends with memory (MAX_FRAMES), and a continuation copies two arrays.
 */
#include "scheme.h"

#include "machine.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAMES 4000000
#define SPARE_FRAMES 10000 /* for the handler of that error, */
#define MAX_TOO_DEEP 100   /* and for handlers of its handler's errors */

static volatile sig_atomic_t interrupted;

void
machine_interrupt(void)
{
    interrupted = 1;
}

/* ---- The stacks ---- */

static bool
push_steal(struct scheme *s, value v)
{
    if (s->stack_count == s->stack_capacity) {
        size_t capacity = s->stack_capacity == 0 ? 1024 : s->stack_capacity * 2;
        value *grown = realloc(s->stack, capacity * sizeof *grown);
        if (grown == NULL) {
            po_decref(v);
            return false;
        }
        s->stack = grown;
        s->stack_capacity = capacity;
    }
    s->stack[s->stack_count++] = v;
    return true;
}

static value
pop(struct scheme *s)
{
    return s->stack[--s->stack_count];
}

static void
drop(struct scheme *s, size_t count)
{
    while (count-- > 0)
        po_decref(pop(s));
}

/* The current call waits: its references move into the frame. */
static bool
push_frame(struct scheme *s)
{
    if (s->frame_count >= MAX_FRAMES + s->too_deep * SPARE_FRAMES) {
        if (s->too_deep < MAX_TOO_DEEP)
            s->too_deep++;
        fail(s, NULL, "the recursion is too deep");
        return false;
    }
    if (s->frame_count == s->frame_capacity) {
        size_t capacity = s->frame_capacity == 0 ? 256 : s->frame_capacity * 2;
        struct frame *grown = realloc(s->frames, capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        s->frames = grown;
        s->frame_capacity = capacity;
    }
    s->frames[s->frame_count++] = (struct frame){s->code, s->environment, s->next};
    s->code = NULL;
    s->environment = NULL;
    return true;
}

/* Drops the code and the environment of the call that ends or is replaced. */
static void
leave_code(struct scheme *s)
{
    struct code *code = s->code;
    struct environment *environment = s->environment;
    s->code = NULL;
    s->environment = NULL;
    po_decref(code);
    po_decref(environment);
}

static bool
make_way(struct scheme *s, bool tail)
{
    if (!tail)
        return push_frame(s);
    leave_code(s);
    return true;
}

/* The result is on the stack; the call that waits for it goes on. */
static void
return_to_caller(struct scheme *s)
{
    leave_code(s);
    if (s->frame_count == 0) {
        s->finished = true;
        return;
    }
    struct frame *frame = &s->frames[--s->frame_count];
    s->code = frame->code;
    s->environment = frame->environment;
    s->next = frame->next;
}

void
machine_reset(struct scheme *s)
{
    leave_code(s);
    drop(s, s->stack_count);
    while (s->frame_count > 0) {
        struct frame frame = s->frames[--s->frame_count];
        po_decref(frame.code);
        po_decref(frame.environment);
    }
    s->too_deep = 0;
    if (s->nil != NULL) {
        po_set(&s->handlers, s->nil);
        po_set(&s->winds, s->nil);
    }
}

/* Where the program is, for messages: the innermost call that is not in the prelude. */
bool
machine_place(struct scheme *s, value *file, uint32_t *line)
{
    const struct code *code = s->code;
    const struct instruction *next = s->next;
    *file = s->compile_file;
    *line = s->compile_line;
    if (s->compile_file != NULL)
        return true;
    for (size_t i = s->frame_count;; code = s->frames[i].code, next = s->frames[i].next) {
        if (code != NULL && code->file != s->prelude) {
            *file = code->file;
            *line = next[-1].line;
            return true;
        }
        if (i-- == 0)
            break;
    }
    /* All of them were left by tail calls: the expression of the top level. */
    if (s->program == NULL || s->program->file == s->prelude)
        return false;
    *file = s->program->file;
    *line = s->program->instructions[0].line;
    return true;
}

/* ---- Calls ---- */

static bool
wrong_count(struct scheme *s, const char *name, size_t count, long least, bool more)
{
    fail(s, NULL, "%s: expected %s%ld argument%s, got %zu", name, more ? "at least " : "", least, least == 1 ? "" : "s",
         count);
    return false;
}

/* Arguments behind the first `required` become a list. */
static bool
collect_rest(struct scheme *s, size_t count, size_t required)
{
    value rest = po_incref(s->nil);
    for (; count > required && rest != NULL; count--)
        rest = cons_steal(s, pop(s), rest);
    return rest != NULL && push_steal(s, rest);
}

/* The stack has the closure and `count` arguments. */
static bool
enter_closure(struct scheme *s, struct closure *closure, size_t count, bool tail)
{
    struct code *code = closure->code;
    if (count != code->required && (count < code->required || !code->rest))
        return wrong_count(s, code->name != NULL ? po_string_bytes(code->name, NULL) : "lambda", count,
                           code->required, code->rest);
    if (code->rest) {
        if (!collect_rest(s, count, code->required))
            return false;
        count = code->required + 1;
    }
    struct environment *environment = closure->environment;
    if (code->slots == 0) {
        po_incref(environment);
    } else {
        /* A collection may run here. It finds the arguments' counts larger than what objects refer to. */
        struct environment *inner = po_new_items(s->type[TYPE_ENVIRONMENT], code->slots);
        if (inner == NULL)
            return false;
        inner->parent = po_incref(environment);
        s->stack_count -= count;
        memcpy(inner->slots, s->stack + s->stack_count, count * sizeof(value)); /* the counts move with them */
        environment = inner;
    }
    po_incref(code);
    if (!make_way(s, tail)) {
        po_decref(code);
        po_decref(environment);
        return false;
    }
    s->code = code;
    s->environment = environment;
    s->next = code->instructions;
    po_decref(pop(s)); /* the closure, now that its code has a reference of its own */
    return true;
}

static bool
call_primitive(struct scheme *s, const struct primitive_spec *spec, size_t count, bool tail)
{
    value result = spec->function(s, s->stack + s->stack_count - count, count);
    if (result == NULL)
        return false;
    drop(s, count);
    po_set_steal(&s->stack[s->stack_count - 1], result);
    if (tail)
        return_to_caller(s);
    return true;
}

/* ---- Continuations ---- */

/* The frames' next instructions are places in their code. All of it is values: no function is needed to visit it. */
static value
capture(struct scheme *s)
{
    struct continuation *k =
        po_new_items(s->type[TYPE_CONTINUATION], s->stack_count + 3 * s->frame_count);
    if (k == NULL)
        return NULL;
    value *item = k->items;
    for (size_t i = 0; i < s->stack_count; i++)
        *item++ = po_incref(s->stack[i]);
    for (size_t i = 0; i < s->frame_count; i++) {
        struct frame *frame = &s->frames[i];
        *item++ = po_incref(frame->code);
        *item++ = po_incref(frame->environment);
        *item = make_integer(s, frame->code != NULL ? frame->next - frame->code->instructions : 0);
        if (*item++ == NULL)
            po_clear((value *)&k);
        if (k == NULL)
            return NULL;
    }
    k->values = s->stack_count;
    k->frames = s->frame_count;
    return k;
}

/* Replaces the stacks by the continuation's. Takes the continuation and the result, which were on the stack. */
static bool
resume_steal(struct scheme *s, struct continuation *k, value result)
{
    bool good = true;
    value handlers = po_incref(s->handlers), winds = po_incref(s->winds);
    machine_reset(s);
    po_set_steal(&s->handlers, handlers);
    po_set_steal(&s->winds, winds);
    for (size_t i = 0; good && i < k->values; i++)
        good = push_steal(s, po_incref(k->items[i]));
    for (value *item = k->items + k->values; good && item < k->items + k->values + 3 * k->frames; item += 3) {
        s->code = po_incref(item[0]);
        s->environment = po_incref(item[1]);
        s->next = s->code != NULL ? s->code->instructions + po_int_value(item[2]) : NULL;
        good = push_frame(s);
    }
    good = good && push_steal(s, po_incref(result));
    if (good)
        return_to_caller(s);
    po_decref(result);
    po_decref(k);
    return good;
}

/* ---- What only the machine can do. The stack has the primitive and its arguments. ---- */

/* The procedure and the list move to where apply was: then it is a call like any other. */
static bool
spread_arguments(struct scheme *s, size_t *count)
{
    value list = pop(s);
    long length = list_length(s, list);
    bool good = length >= 0;
    if (!good)
        wrong_type(s, list, "apply", "a list");
    for (value rest = list; good && is_pair(s, rest); rest = cdr(rest))
        good = push_steal(s, po_incref(car(rest)));
    po_decref(list);
    if (!good)
        return false;
    size_t kept = *count - 1 + (size_t)length; /* the procedure and its arguments */
    value *apply = &s->stack[s->stack_count - kept - 1];
    po_decref(*apply);
    memmove(apply, apply + 1, kept * sizeof *apply);
    s->stack_count--;
    *count = kept - 1;
    return true;
}

/* (%call/cc f): (f k) in the place of this call. */
static bool
call_with_continuation(struct scheme *s)
{
    value receiver = pop(s);
    drop(s, 1);
    value k = capture(s);
    bool good = k != NULL;
    good = push_steal(s, receiver) && good;
    return good && push_steal(s, k);
}

/* (eval x [file]): the code as a closure without arguments in the place of this call. */
static bool
prepare_evaluation(struct scheme *s, size_t count)
{
    uint32_t line;
    value file, given = count == 2 ? pop(s) : NULL, expression = pop(s);
    bool known = machine_place(s, &file, &line);
    if (given != NULL && is(s, given, TYPE_SYMBOL))
        file = given;
    struct closure *closure = NULL;
    struct code *code = compile_program(s, expression, file != NULL ? file : s->prelude, known ? line : 0);
    if (code != NULL && (closure = po_new(s->type[TYPE_CLOSURE])) != NULL)
        closure->code = po_incref(code);
    po_decref(code);
    po_decref(expression);
    po_decref(given);
    if (closure == NULL)
        return false;
    po_set_steal(&s->stack[s->stack_count - 1], closure);
    return true;
}

/* Nobody handles the object: `run` ends. An error object brings its place, anything else gets one. */
static bool
end_uncaught(struct scheme *s)
{
    value object = pop(s), file;
    uint32_t line;
    if (is(s, object, TYPE_ERROR)) {
        po_set_steal(&s->condition, object);
    } else {
        value message = make_text(s, "uncaught object:", 16);
        value irritants = cons(s, object, s->nil);
        machine_place(s, &file, &line);
        value error = message != NULL && irritants != NULL ? make_error(s, message, irritants, file, line) : NULL;
        po_decref(message);
        po_decref(irritants);
        po_decref(object);
        po_set_steal(&s->condition, error != NULL ? error : po_incref(s->out_of_memory));
    }
    s->finished = true;
    return true;
}

/* What to do next: the call is done, has failed, or has become another one. */
enum outcome { DONE, FAILED, AGAIN };

static enum outcome
call_special(struct scheme *s, const struct primitive_spec *spec, size_t *count, bool *tail)
{
    bool good = true;
    switch (spec->special) {
    case APPLY:
        return spread_arguments(s, count) ? AGAIN : FAILED;
    case CALL_CC:
        good = make_way(s, *tail) && call_with_continuation(s);
        *tail = true; /* the frame is there already */
        *count = 1;
        break;
    case EVALUATE:
        good = prepare_evaluation(s, *count);
        *count = 0;
        break;
    case UNCAUGHT:
        return end_uncaught(s) ? DONE : FAILED;
    case ORDINARY:
        return call_primitive(s, spec, *count, *tail) ? DONE : FAILED;
    }
    return good ? AGAIN : FAILED;
}

static bool
resume(struct scheme *s, size_t count)
{
    if (count > 1)
        return wrong_count(s, "continuation", count, 1, false);
    value result = count == 1 ? pop(s) : nothing(s);
    return resume_steal(s, pop(s), result);
}

static bool
call(struct scheme *s, size_t count, bool tail)
{
    for (;;) {
        value callee = s->stack[s->stack_count - count - 1];
        if (is(s, callee, TYPE_CLOSURE))
            return enter_closure(s, callee, count, tail);
        if (is(s, callee, TYPE_CONTINUATION))
            return resume(s, count);
        if (!is(s, callee, TYPE_PRIMITIVE))
            return refuse(fail(s, callee, "not a procedure:"));
        const struct primitive_spec *spec = ((struct primitive *)callee)->spec;
        if (count < (size_t)spec->least || (spec->most >= 0 && count > (size_t)spec->most))
            return wrong_count(s, spec->name, count, spec->least, spec->most != spec->least);
        enum outcome outcome = call_special(s, spec, &count, &tail);
        if (outcome != AGAIN)
            return outcome == DONE;
    }
}

/* ---- Instructions ---- */

static value
constant(const struct scheme *s, const struct instruction *i)
{
    return vector_items(s->code->constants)[i->argument];
}

static bool
push_local(struct scheme *s, const struct instruction *i)
{
    struct environment *environment = s->environment;
    for (unsigned depth = i->depth; depth > 0; depth--)
        environment = environment->parent;
    value v = environment->slots[i->argument];
    if (v == NULL)
        return refuse(fail(s, NULL, "a variable is used before it has a value"));
    return push_steal(s, po_incref(v));
}

static bool
push_global(struct scheme *s, const struct instruction *i)
{
    struct global *global = constant(s, i);
    if (global->value == NULL)
        return refuse(fail(s, global->name, "undefined variable:"));
    return push_steal(s, po_incref(global->value));
}

/* The slot has its new value before the old one is released: po_set_steal sees to that. */
static void
set_local(struct scheme *s, const struct instruction *i)
{
    struct environment *environment = s->environment;
    for (unsigned depth = i->depth; depth > 0; depth--)
        environment = environment->parent;
    po_set_steal(&environment->slots[i->argument], s->stack[s->stack_count - 1]);
    s->stack[s->stack_count - 1] = nothing(s);
}

static bool
set_global(struct scheme *s, const struct instruction *i)
{
    struct global *global = constant(s, i);
    if (global->value == NULL && i->operation == OP_SET_GLOBAL)
        return refuse(fail(s, global->name, "set!: undefined variable:"));
    po_set_steal(&global->value, s->stack[s->stack_count - 1]);
    s->stack[s->stack_count - 1] = nothing(s);
    return true;
}

static bool
make_closure(struct scheme *s, const struct instruction *i)
{
    struct closure *closure = po_new(s->type[TYPE_CLOSURE]);
    if (closure == NULL)
        return false;
    closure->code = po_incref(constant(s, i));
    closure->environment = po_incref(s->environment);
    return push_steal(s, closure);
}

static bool
enter_let(struct scheme *s, const struct instruction *i)
{
    struct environment *inner = po_new_items(s->type[TYPE_ENVIRONMENT], i->argument);
    if (inner == NULL)
        return false;
    s->stack_count -= i->depth;
    if (i->depth != 0)
        memcpy(inner->slots, s->stack + s->stack_count, i->depth * sizeof(value));
    inner->parent = s->environment;
    s->environment = inner;
    return true;
}

static void
leave_let(struct scheme *s)
{
    struct environment *inner = s->environment;
    s->environment = po_incref(inner->parent);
    po_decref(inner);
}

/* A jump that pops, or keeps the value where it jumps (`keep`). */
static void
branch(struct scheme *s, const struct instruction *i, bool if_true, bool keep)
{
    bool taken = (s->stack[s->stack_count - 1] != s->no) == if_true;
    if (taken)
        s->next = s->code->instructions + i->argument;
    if (!taken || !keep)
        po_decref(pop(s));
}

static bool
step(struct scheme *s, const struct instruction *i)
{
    switch ((enum operation)i->operation) {
    case OP_CONSTANT:
        return push_steal(s, po_incref(constant(s, i)));
    case OP_LOCAL:
    case OP_OUTER:
        return push_local(s, i);
    case OP_GLOBAL:
        return push_global(s, i);
    case OP_SET_LOCAL:
        set_local(s, i);
        return true;
    case OP_SET_GLOBAL:
    case OP_DEFINE_GLOBAL:
        return set_global(s, i);
    case OP_POP:
        po_decref(pop(s));
        return true;
    case OP_JUMP:
        s->next = s->code->instructions + i->argument;
        return true;
    case OP_JUMP_IF_FALSE:
    case OP_JUMP_IF_TRUE:
        branch(s, i, i->operation == OP_JUMP_IF_TRUE, false);
        return true;
    case OP_AND:
    case OP_OR:
        branch(s, i, i->operation == OP_OR, true);
        return true;
    case OP_MATCH:
        return push_steal(s, boolean(s, is_eqv(s, s->stack[s->stack_count - 1], constant(s, i))));
    case OP_CLOSURE:
        return make_closure(s, i);
    case OP_LET:
        return enter_let(s, i);
    case OP_LEAVE:
        leave_let(s);
        return true;
    case OP_CALL:
    case OP_TAIL_CALL:
        if (interrupted) {
            interrupted = 0;
            return refuse(fail(s, NULL, "interrupted"));
        }
        return call(s, i->argument, i->operation == OP_TAIL_CALL);
    case OP_RETURN:
        return_to_caller(s);
        return true;
    }
    return false;
}

/* ---- Running ---- */

/* The error becomes a call of the prelude's raise, as if the instruction that failed had been that. What was on
 * the stack stays there until somebody leaves with a continuation. */
static bool
raise_condition(struct scheme *s)
{
    value condition = s->condition != NULL ? s->condition : po_incref(s->out_of_memory);
    s->condition = NULL;
    value name = symbol(s, "raise");
    struct global *raise = name != NULL ? table_get(s, s->builtins, name) : NULL;
    po_decref(name);
    bool good = raise != NULL && raise->value != NULL && push_steal(s, po_incref(raise->value))
                && push_steal(s, po_incref(condition)) && call(s, 1, false);
    if (!good)
        po_set(&s->condition, condition);
    po_decref(condition);
    return good;
}

/* Runs code without parameters. NULL: s->condition, or s->exiting. */
value
run(struct scheme *s, struct code *code)
{
    machine_reset(s);
    po_clear(&s->condition);
    interrupted = 0;
    s->finished = false;
    s->program = code;
    s->code = po_incref(code);
    s->next = code->instructions;
    while (!s->finished && !s->exiting)
        if (!step(s, s->next++) && !raise_condition(s))
            break;
    bool good = s->finished && s->condition == NULL;
    value result = good ? pop(s) : NULL;
    machine_reset(s);
    s->program = NULL;
    return result;
}

/* ---- Primitives about the machine's state ---- */

static value
get_handlers(struct scheme *s, value *arguments, size_t count)
{
    (void)arguments, (void)count;
    return po_incref(s->handlers);
}

static value
set_handlers(struct scheme *s, value *arguments, size_t count)
{
    (void)count;
    po_set(&s->handlers, arguments[0]);
    return nothing(s);
}

static value
get_winds(struct scheme *s, value *arguments, size_t count)
{
    (void)arguments, (void)count;
    return po_incref(s->winds);
}

static value
set_winds(struct scheme *s, value *arguments, size_t count)
{
    (void)count;
    po_set(&s->winds, arguments[0]);
    return nothing(s);
}

/* The error is on its way: the machine calls raise. */
static value
raise_error(struct scheme *s, value *arguments, size_t count)
{
    struct list irritants;
    value file;
    uint32_t line;
    bool good = true;
    list_start(s, &irritants);
    for (size_t i = 1; good && i < count; i++)
        good = list_add_steal(s, &irritants, po_incref(arguments[i]));
    value list = list_finish(&irritants, good);
    machine_place(s, &file, &line);
    po_set_steal(&s->condition, list != NULL ? make_error(s, arguments[0], list, file, line) : NULL);
    po_decref(list);
    return NULL;
}

static value
exit_program(struct scheme *s, value *arguments, size_t count)
{
    s->exit_status = count == 0 || arguments[0] == s->yes ? 0
                     : is(s, arguments[0], TYPE_INTEGER)  ? (int)(po_int_value(arguments[0]) & 255)
                                                          : 1;
    s->exiting = true;
    return nothing(s);
}

const struct primitive_spec machine_primitives[] = {
    {"apply", NULL, 2, -1, APPLY},
    {"%call/cc", NULL, 1, 1, CALL_CC},
    {"eval", NULL, 1, 2, EVALUATE},
    {"%uncaught", NULL, 1, 1, UNCAUGHT},
    {"%handlers", get_handlers, 0, 0, ORDINARY},
    {"%set-handlers!", set_handlers, 1, 1, ORDINARY},
    {"%winds", get_winds, 0, 0, ORDINARY},
    {"%set-winds!", set_winds, 1, 1, ORDINARY},
    {"error", raise_error, 1, -1, ORDINARY},
    {"exit", exit_program, 0, 1, ORDINARY},
    {NULL, NULL, 0, 0, ORDINARY},
};
