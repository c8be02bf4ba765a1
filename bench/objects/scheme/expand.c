/* SPDX-License-Identifier: MIT
 *
 * The derived forms, rewritten into simpler ones. The result has keywords as objects instead of symbols, and procedures
 * as the globals of the prelude: whatever the program calls its variables, they mean what they mean here. Helping
 * variables are strings that are not interned: no symbol of a program is the same object.
 *
 * Here the constructors that steal show what they are for: an expansion is one nested expression, in which any step may
 * run out of memory or collect, and nothing leaks or dies early.
 */
#include "scheme.h"

#include <string.h>

#define KEYWORD(name) builtin(s, name, true)
#define PROCEDURE(name) builtin(s, name, false)
#define OWN(v) po_incref(v)
#define LIST1(a) list_steal(s, 1, a)
#define LIST2(a, b) list_steal(s, 2, a, b)
#define LIST3(a, b, c) list_steal(s, 3, a, b, c)
#define LIST4(a, b, c, d) list_steal(s, 4, a, b, c, d)
#define CONS(a, b) cons_steal(s, a, b)

/* The global itself, or the form that is its value; new. */
static value
builtin(struct scheme *s, const char *name, bool keyword)
{
    value key = symbol(s, name);
    struct global *global = key != NULL ? table_get(s, s->builtins, key) : NULL;
    po_decref(key);
    return global == NULL ? NULL : po_incref(keyword ? global->value : global);
}

static value
variable(struct scheme *s, const char *name)
{
    return po_string(s->heap, name, strlen(name));
}

static bool
is_symbol(struct scheme *s, value v, const char *name)
{
    return is(s, v, TYPE_SYMBOL) && strcmp(po_string_bytes(v, NULL), name) == 0;
}

/* ---- Conditions ---- */

/* (cond (test => f) rest ...): (let ((t test)) (if t (f t) (cond rest ...))). */
static value
expand_arrow(struct scheme *s, value clause, value rest)
{
    value t = variable(s, "t");
    value call = LIST2(OWN(car(cdr(cdr(clause)))), OWN(t));
    value choice = LIST4(KEYWORD("if"), OWN(t), call, CONS(KEYWORD("cond"), OWN(rest)));
    value result = LIST3(KEYWORD("let"), LIST1(LIST2(OWN(t), OWN(car(clause)))), choice);
    po_decref(t);
    return result;
}

static value
expand_cond(struct scheme *s, value x)
{
    long length = list_length(s, x);
    if (length == 1)
        return LIST1(KEYWORD("begin"));
    value clause = length > 1 ? car(cdr(x)) : s->nil, rest = length > 1 ? cdr(cdr(x)) : s->nil;
    long clause_length = list_length(s, clause);
    if (clause_length < 1)
        return syntax_error(s, x);
    if (is_symbol(s, car(clause), "else"))
        return CONS(KEYWORD("begin"), OWN(cdr(clause)));
    if (clause_length == 1)
        return LIST3(KEYWORD("or"), OWN(car(clause)), CONS(KEYWORD("cond"), OWN(rest)));
    if (clause_length == 3 && is_symbol(s, car(cdr(clause)), "=>"))
        return expand_arrow(s, clause, rest);
    return LIST4(KEYWORD("if"), OWN(car(clause)), CONS(KEYWORD("begin"), OWN(cdr(clause))),
                 CONS(KEYWORD("cond"), OWN(rest)));
}

static value
expand_when(struct scheme *s, value x)
{
    if (list_length(s, x) < 2)
        return syntax_error(s, x);
    return LIST3(KEYWORD("if"), OWN(car(cdr(x))), CONS(KEYWORD("begin"), OWN(cdr(cdr(x)))));
}

static value
expand_unless(struct scheme *s, value x)
{
    if (list_length(s, x) < 2)
        return syntax_error(s, x);
    return LIST4(KEYWORD("if"), OWN(car(cdr(x))), LIST1(KEYWORD("begin")), CONS(KEYWORD("begin"), OWN(cdr(cdr(x)))));
}

/* ---- Bindings and loops ---- */

static value
expand_let_star(struct scheme *s, value x)
{
    if (!check_bindings(s, x))
        return NULL;
    value bindings = car(cdr(x)), body = cdr(cdr(x));
    if (bindings == s->nil || cdr(bindings) == s->nil)
        return CONS(KEYWORD("let"), OWN(cdr(x)));
    return LIST3(KEYWORD("let"), LIST1(OWN(car(bindings))), CONS(KEYWORD("let*"), CONS(OWN(cdr(bindings)), OWN(body))));
}

/* A list of item `index` of each binding. */
static value
pick(struct scheme *s, value bindings, int index)
{
    struct list list;
    bool good = true;
    list_start(s, &list);
    for (; good && is_pair(s, bindings); bindings = cdr(bindings)) {
        value binding = car(bindings);
        good = list_add_steal(s, &list, OWN(index == 0 ? car(binding) : car(cdr(binding))));
    }
    return list_finish(&list, good);
}

/* (let name ((v e) ...) body ...): ((letrec ((name (lambda (v ...) body ...))) name) e ...). */
value
expand_named_let(struct scheme *s, value x)
{
    value name = car(cdr(x));
    if (!check_bindings(s, cdr(x)))
        return NULL;
    value bindings = car(cdr(cdr(x))), body = cdr(cdr(cdr(x)));
    value lambda = CONS(KEYWORD("lambda"), CONS(pick(s, bindings, 0), OWN(body)));
    value procedure = LIST3(KEYWORD("letrec"), LIST1(LIST2(OWN(name), lambda)), OWN(name));
    return CONS(procedure, pick(s, bindings, 1));
}

/* (do ((v e step) ...) (test result ...) body ...):
 * (let loop ((v e) ...) (if test (begin result ...) (begin body ... (loop step ...)))) */
static value
expand_do(struct scheme *s, value x)
{
    bool good = list_length(s, x) >= 3 && list_length(s, car(cdr(x))) >= 0 && list_length(s, car(cdr(cdr(x)))) >= 1;
    value specs = good ? car(cdr(x)) : s->nil;
    for (value rest = specs; good && is_pair(s, rest); rest = cdr(rest))
        good = list_length(s, car(rest)) == 2 || list_length(s, car(rest)) == 3;
    if (!good)
        return syntax_error(s, x);
    value end = car(cdr(cdr(x))), body = cdr(cdr(cdr(x))), loop = variable(s, "loop");
    struct list bindings, again, sequence;
    list_start(s, &bindings);
    list_start(s, &again);
    list_start(s, &sequence);
    good = list_add_steal(s, &again, OWN(loop)) && list_add_steal(s, &sequence, KEYWORD("begin"));
    for (; good && is_pair(s, specs); specs = cdr(specs)) {
        value spec = car(specs);
        bool steps = is_pair(s, cdr(cdr(spec)));
        good = list_add_steal(s, &bindings, LIST2(OWN(car(spec)), OWN(car(cdr(spec)))))
               && list_add_steal(s, &again, OWN(steps ? car(cdr(cdr(spec))) : car(spec)));
    }
    for (; good && is_pair(s, body); body = cdr(body))
        good = list_add_steal(s, &sequence, OWN(car(body)));
    good = list_add_steal(s, &sequence, list_finish(&again, good)) && good;
    value choice = LIST4(KEYWORD("if"), OWN(car(end)), CONS(KEYWORD("begin"), OWN(cdr(end))),
                         list_finish(&sequence, good));
    return LIST4(KEYWORD("let"), loop, list_finish(&bindings, good), choice);
}

/* ---- Quasiquote ---- */

static value quasi(struct scheme *s, value x, long level, unsigned depth);

/* (name x) one level further in or out. */
static value
quasi_nested(struct scheme *s, value x, const char *name, long level, unsigned depth)
{
    return LIST3(PROCEDURE("list"), LIST2(KEYWORD("quote"), symbol(s, name)), quasi(s, car(cdr(x)), level, depth));
}

static value
quasi_pair(struct scheme *s, value x, long level, unsigned depth)
{
    value head = car(x);
    if (list_length(s, x) == 2 && is_symbol(s, head, "unquote"))
        return level == 1 ? OWN(car(cdr(x))) : quasi_nested(s, x, "unquote", level - 1, depth + 1);
    if (list_length(s, x) == 2 && is_symbol(s, head, "quasiquote"))
        return quasi_nested(s, x, "quasiquote", level + 1, depth + 1);
    if (level == 1 && list_length(s, head) == 2 && is_symbol(s, car(head), "unquote-splicing"))
        return LIST3(PROCEDURE("append"), OWN(car(cdr(head))), quasi(s, cdr(x), level, depth + 1));
    return LIST3(PROCEDURE("cons"), quasi(s, head, level, depth + 1), quasi(s, cdr(x), level, depth + 1));
}

static value
quasi(struct scheme *s, value x, long level, unsigned depth)
{
    if (depth == MAX_NESTING)
        return fail(s, NULL, "quasiquote: the template is too long");
    if (is_pair(s, x))
        return quasi_pair(s, x, level, depth);
    if (!is(s, x, TYPE_VECTOR))
        return LIST2(KEYWORD("quote"), OWN(x));
    struct list items;
    bool good = true;
    list_start(s, &items);
    for (size_t i = 0; good && i < po_item_count(x); i++)
        good = list_add_steal(s, &items, OWN(vector_items(x)[i]));
    value list = list_finish(&items, good);
    value result = list != NULL ? LIST2(PROCEDURE("list->vector"), quasi(s, list, level, depth + 1)) : NULL;
    po_decref(list);
    return result;
}

static value
expand_quasiquote(struct scheme *s, value x)
{
    return list_length(s, x) == 2 ? quasi(s, car(cdr(x)), 1, 0) : syntax_error(s, x);
}

/* ---- Errors, promises ---- */

/* (guard (v clause ...) body ...) leaves the body with a thunk, which is called outside: the clauses run without the
 * guard, and in a tail position.
 *   ((call/cc (lambda (k)
 *      (with-exception-handler
 *        (lambda (v) (k (lambda () (cond clause ... (else (raise v))))))
 *        (lambda () (let ((r (let () body ...))) (lambda () r))))))) */
static value
expand_guard(struct scheme *s, value x)
{
    bool good = list_length(s, x) >= 3 && list_length(s, car(cdr(x))) >= 1 && is(s, car(car(cdr(x))), TYPE_SYMBOL);
    if (!good)
        return syntax_error(s, x);
    value v = car(car(cdr(x))), body = cdr(cdr(x)), k = variable(s, "k"), r = variable(s, "r");
    struct list clauses;
    list_start(s, &clauses);
    good = list_add_steal(s, &clauses, KEYWORD("cond"));
    for (value rest = cdr(car(cdr(x))); good && is_pair(s, rest); rest = cdr(rest))
        good = list_add_steal(s, &clauses, OWN(car(rest)));
    good = good && list_add_steal(s, &clauses, LIST2(symbol(s, "else"), LIST2(PROCEDURE("raise"), OWN(v))));
    value outside = LIST3(KEYWORD("lambda"), OWN(s->nil), list_finish(&clauses, good));
    value handler = LIST3(KEYWORD("lambda"), LIST1(OWN(v)), LIST2(OWN(k), outside));
    value inside = CONS(KEYWORD("let"), CONS(OWN(s->nil), OWN(body)));
    value thunk = LIST3(KEYWORD("lambda"), OWN(s->nil),
                        LIST3(KEYWORD("let"), LIST1(LIST2(OWN(r), inside)),
                              LIST3(KEYWORD("lambda"), OWN(s->nil), OWN(r))));
    value receiver = LIST3(KEYWORD("lambda"), LIST1(k), LIST3(PROCEDURE("with-exception-handler"), handler, thunk));
    po_decref(r);
    return LIST1(LIST2(PROCEDURE("call/cc"), receiver));
}

static value
expand_delay(struct scheme *s, value x)
{
    if (list_length(s, x) != 2)
        return syntax_error(s, x);
    return LIST2(PROCEDURE("%make-promise"), CONS(KEYWORD("lambda"), CONS(OWN(s->nil), OWN(cdr(x)))));
}

static value
expand_assert(struct scheme *s, value x)
{
    if (list_length(s, x) != 2)
        return syntax_error(s, x);
    value failed = LIST3(PROCEDURE("error"), make_text(s, "assertion failed:", 17),
                         LIST2(KEYWORD("quote"), OWN(car(cdr(x)))));
    return LIST4(KEYWORD("if"), OWN(car(cdr(x))), LIST1(KEYWORD("begin")), failed);
}

const struct form_spec derived_forms[] = {
    {"cond", NULL, expand_cond},     {"when", NULL, expand_when},   {"unless", NULL, expand_unless},
    {"let*", NULL, expand_let_star}, {"do", NULL, expand_do},       {"quasiquote", NULL, expand_quasiquote},
    {"guard", NULL, expand_guard},   {"delay", NULL, expand_delay}, {"assert", NULL, expand_assert},
    {NULL, NULL, NULL},
};
