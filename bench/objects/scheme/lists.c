/* SPDX-License-Identifier: MIT
 *
 * Primitives about pairs and lists. A primitive borrows its arguments from the machine's stack and returns a new
 * reference: (car x) is therefore po_incref of what the pair refers to.
 */
#include "scheme.h"

static value
need_pair(struct scheme *s, value v, const char *name)
{
    return is_pair(s, v) ? v : wrong_type(s, v, name, "a pair");
}

static value
do_cons(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return cons(s, a[0], a[1]);
}

static value
do_car(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return is_pair(s, a[0]) ? po_incref(car(a[0])) : wrong_type(s, a[0], "car", "a pair");
}

static value
do_cdr(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return is_pair(s, a[0]) ? po_incref(cdr(a[0])) : wrong_type(s, a[0], "cdr", "a pair");
}

/* c[ad]{2,4}r: the path is read from its right end. */
static value
follow(struct scheme *s, value v, const char *name, const char *path)
{
    const char *step = path;
    while (*step != '\0')
        step++;
    while (step-- > path) {
        if (need_pair(s, v, name) == NULL)
            return NULL;
        v = *step == 'a' ? car(v) : cdr(v);
    }
    return po_incref(v);
}

#define PATH(path)                                                \
    static value do_c##path##r(struct scheme *s, value *a, size_t count) \
    {                                                             \
        (void)count;                                              \
        return follow(s, a[0], "c" #path "r", #path);             \
    }
PATH(aa) PATH(ad) PATH(da) PATH(dd) PATH(aad) PATH(add) PATH(dda) PATH(ddd) PATH(dad) PATH(ada) PATH(daa) PATH(addd)

static value
set_car(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (need_pair(s, a[0], "set-car!") == NULL)
        return NULL;
    po_set(&((struct pair *)a[0])->car, a[1]);
    return nothing(s);
}

static value
set_cdr(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (need_pair(s, a[0], "set-cdr!") == NULL)
        return NULL;
    po_set(&((struct pair *)a[0])->cdr, a[1]);
    return nothing(s);
}

static value
make_list_of_arguments(struct scheme *s, value *a, size_t count)
{
    value list = po_incref(s->nil);
    while (count-- > 0 && list != NULL)
        list = cons_steal(s, po_incref(a[count]), list);
    return list;
}

static value
length(struct scheme *s, value *a, size_t count)
{
    (void)count;
    long items = list_length(s, a[0]);
    return items >= 0 ? make_integer(s, items) : wrong_type(s, a[0], "length", "a list");
}

static value
reverse(struct scheme *s, value *a, size_t count)
{
    (void)count;
    if (list_length(s, a[0]) < 0)
        return wrong_type(s, a[0], "reverse", "a list");
    value list = po_incref(s->nil);
    for (value rest = a[0]; list != NULL && is_pair(s, rest); rest = cdr(rest))
        list = cons_steal(s, po_incref(car(rest)), list);
    return list;
}

/* All but the last list are copied. */
static value
append(struct scheme *s, value *a, size_t count)
{
    struct list list;
    bool good = true;
    if (count == 0)
        return po_incref(s->nil);
    list_start(s, &list);
    for (size_t i = 0; good && i + 1 < count; i++) {
        if (list_length(s, a[i]) < 0) {
            list_finish(&list, false);
            return wrong_type(s, a[i], "append", "a list");
        }
        for (value rest = a[i]; good && is_pair(s, rest); rest = cdr(rest))
            good = list_add_steal(s, &list, po_incref(car(rest)));
    }
    if (good)
        po_set(list.last == NULL ? &list.head : &((struct pair *)list.last)->cdr, a[count - 1]);
    return list_finish(&list, good);
}

static value
list_tail(struct scheme *s, value *a, size_t count)
{
    (void)count;
    value rest = a[0];
    if (!is(s, a[1], TYPE_INTEGER))
        return wrong_type(s, a[1], "list-tail", "an index");
    for (int64_t n = po_int_value(a[1]); n > 0; n--, rest = cdr(rest))
        if (!is_pair(s, rest))
            return wrong_type(s, a[1], "list-tail", "an index within the list");
    return po_incref(rest);
}

static value
list_ref(struct scheme *s, value *a, size_t count)
{
    value tail = list_tail(s, a, count);
    if (tail == NULL)
        return NULL;
    value item = is_pair(s, tail) ? po_incref(car(tail)) : wrong_type(s, a[1], "list-ref", "an index within the list");
    po_decref(tail);
    return item;
}

/* The first pair whose car matches, as member and memq return it; with `pairs` the car itself if its car matches. */
static value
find(struct scheme *s, value key, value list, bool deep, bool pairs, const char *name)
{
    if (list_length(s, list) < 0)
        return wrong_type(s, list, name, "a list");
    for (; is_pair(s, list); list = cdr(list)) {
        if (pairs && need_pair(s, car(list), name) == NULL)
            return NULL;
        value item = pairs ? car(car(list)) : car(list);
        int same = deep ? is_equal(s, key, item) : is_eqv(s, key, item);
        if (same < 0)
            return NULL;
        if (same)
            return po_incref(pairs ? car(list) : list);
    }
    return boolean(s, false);
}

static value
member(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return find(s, a[0], a[1], true, false, "member");
}

static value
memv(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return find(s, a[0], a[1], false, false, "memv");
}

static value
assoc(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return find(s, a[0], a[1], true, true, "assoc");
}

static value
assv(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return find(s, a[0], a[1], false, true, "assv");
}

static value
is_a_pair(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, is_pair(s, a[0]));
}

static value
is_null(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, a[0] == s->nil);
}

static value
is_list(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, list_length(s, a[0]) >= 0);
}

const struct primitive_spec list_primitives[] = {
    {"cons", do_cons, 2, 2, ORDINARY},
    {"car", do_car, 1, 1, ORDINARY},
    {"cdr", do_cdr, 1, 1, ORDINARY},
    {"caar", do_caar, 1, 1, ORDINARY},
    {"cadr", do_cadr, 1, 1, ORDINARY},
    {"cdar", do_cdar, 1, 1, ORDINARY},
    {"cddr", do_cddr, 1, 1, ORDINARY},
    {"caadr", do_caadr, 1, 1, ORDINARY},
    {"caddr", do_caddr, 1, 1, ORDINARY},
    {"cddar", do_cddar, 1, 1, ORDINARY},
    {"cdddr", do_cdddr, 1, 1, ORDINARY},
    {"cdadr", do_cdadr, 1, 1, ORDINARY},
    {"cadar", do_cadar, 1, 1, ORDINARY},
    {"cdaar", do_cdaar, 1, 1, ORDINARY},
    {"cadddr", do_cadddr, 1, 1, ORDINARY},
    {"set-car!", set_car, 2, 2, ORDINARY},
    {"set-cdr!", set_cdr, 2, 2, ORDINARY},
    {"list", make_list_of_arguments, 0, -1, ORDINARY},
    {"length", length, 1, 1, ORDINARY},
    {"reverse", reverse, 1, 1, ORDINARY},
    {"append", append, 0, -1, ORDINARY},
    {"list-tail", list_tail, 2, 2, ORDINARY},
    {"list-ref", list_ref, 2, 2, ORDINARY},
    {"member", member, 2, 2, ORDINARY},
    {"memv", memv, 2, 2, ORDINARY},
    {"memq", memv, 2, 2, ORDINARY},
    {"assoc", assoc, 2, 2, ORDINARY},
    {"assv", assv, 2, 2, ORDINARY},
    {"assq", assv, 2, 2, ORDINARY},
    {"pair?", is_a_pair, 1, 1, ORDINARY},
    {"null?", is_null, 1, 1, ORDINARY},
    {"list?", is_list, 1, 1, ORDINARY},
    {NULL, NULL, 0, 0, ORDINARY},
};
