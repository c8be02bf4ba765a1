/* SPDX-License-Identifier: MIT
 *
 * A small Scheme whose data live in an object heap of poolobject, and nowhere else. Written to be read by somebody who
 * embeds the library. The files, in the order in which to read them:
 *
 *   value.c      the types of Scheme data, told to the library once; constructors; errors
 *   table.c      equal?, and hash tables made of vectors
 *   read.c       text to data
 *   print.c      data to text
 *   compile.c    data to code for the machine; expand.c rewrites the derived forms (cond, do, guard, ...)
 *   machine.c    the machine: a stack of values, a stack of frames, calls, continuations
 *   lists.c numbers.c strings.c objects.c    the primitive procedures
 *   prelude.scm  what is better written in Scheme: map, dynamic-wind, call/cc, raise, sort
 *   main.c       files, standard input, the prompt
 *
 * How references are kept
 *
 *   There is no list of roots, no registration of local variables, no conservative scan of the C stack. The library
 *   counts references; a collection subtracts those it finds inside objects from the counts, and an object with
 *   a count left over is referred to from outside. So a C variable is a root exactly because it owns a count: while it
 *   does, any function may be called that allocates and therefore may collect.
 *
 *   Three rules, which hold for every function in these files unless its comment says otherwise:
 *     1. Arguments are borrowed: the caller keeps them alive, the function does not give them back.
 *     2. A `value` that is returned is new: the caller owns it. It ends in po_decref or in an object, or is returned.
 *     3. NULL as a result means failure: s->condition has the error, or is NULL when memory ran out. Names that end in
 *        _steal take over their arguments, also when they fail, and fail when an argument is NULL. So constructors
 *        nest: cons_steal(s, make_text(s, ...), po_incref(rest)) needs one check, of its result.
 *
 *   A borrowed reference is safe for as long as its owner keeps it. An item of a list that the program can change is
 *   not safe across anything that runs the program; but primitives never run the program, the machine does.
 */
#ifndef SCHEME_H
#define SCHEME_H

#include <poolobject.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Any Scheme datum: an object of the heap. Symbols are interned strings of the library, numbers its integers. */
typedef void *value;

struct scheme;

enum type {
    TYPE_SYMBOL,
    TYPE_INTEGER,
    TYPE_SINGLETON,
    TYPE_PAIR,
    TYPE_LOCATED_PAIR,
    TYPE_TEXT,
    TYPE_CHARACTER,
    TYPE_VECTOR,
    TYPE_TABLE,
    TYPE_CODE,
    TYPE_ENVIRONMENT,
    TYPE_CLOSURE,
    TYPE_PRIMITIVE,
    TYPE_FORM,
    TYPE_CONTINUATION,
    TYPE_GLOBAL,
    TYPE_ERROR,
    TYPE_PORT,
    TYPE_WEAK_BOX,
    TYPES,
};

/* (), #t, #f, what has no value, the end of input. */
struct singleton {
    const char *text;
};

struct pair {
    value car, cdr;
};

/* What the reader makes: a pair that knows its line. pair? is true for both. */
struct located_pair {
    struct pair pair;
    uint32_t line;
};

/* A Scheme string can be changed, one of the library cannot: a box with one in it. Copies share the bytes. */
struct text {
    value bytes;
};

struct character {
    int code; /* a byte: 0 to 255 */
};

/* A vector has nothing but items: its struct is the array itself. */
#define vector_items(vector) ((value *)(vector))

/* Open addressing; a free place has the key NULL, that of a deleted entry the key s->deleted. */
struct table {
    value keys, values;  /* vectors of the same length, a power of two */
    size_t count, used;  /* entries; entries and deleted ones */
};

struct instruction {
    uint16_t operation;
    uint16_t depth;
    uint32_t argument;
    uint32_t line;
};

/* A compiled lambda. The instructions are its items. */
struct code {
    value constants; /* a vector */
    value name, file;
    uint32_t required, slots; /* parameters without the rest; size of the environment of a call, 0: needs none */
    bool rest;
    struct instruction instructions[];
};

/* The variables of one call or let. A closure refers to the environment it was made in, which often has the closure in
 * one of its slots: the usual cycle of Scheme, found by the collector. */
struct environment {
    struct environment *parent;
    value slots[];
};

struct closure {
    struct code *code;
    struct environment *environment;
};

/* `arguments` are borrowed: the machine's stack owns them. The result is new. */
typedef value primitive_function(struct scheme *s, value *arguments, size_t count);

enum special { ORDINARY, APPLY, CALL_CC, EVALUATE, UNCAUGHT };

struct primitive_spec {
    const char *name;
    primitive_function *function;
    int least, most; /* arguments; -1: any number */
    enum special special; /* what only the machine can do; then there is no function */
};

struct primitive {
    const struct primitive_spec *spec;
};

/* A syntactic keyword, the value of a global variable until the program redefines it. */
struct form {
    const struct form_spec *spec;
};

/* The machine's two stacks, copied: `values` values, then a code, an environment and a place for each frame. */
struct continuation {
    size_t values, frames;
    value items[];
};

struct global {
    value name;
    value value; /* NULL: not defined */
};

struct error {
    value message, irritants; /* a Scheme string, a list */
    value file;               /* a symbol, or NULL */
    uint32_t line;
};

/* Text is collected in memory; `destroy` gives it back. */
struct port {
    FILE *file;
    char *text;
    size_t length;
};

struct weak_box {
    po_weak *weak;
};

/* A call that waits for another one. Owns both references. */
struct frame {
    struct code *code;
    struct environment *environment;
    const struct instruction *next;
};

/* The interpreter. Each `value` in it owns a count, which makes it a root; scheme_destroy gives them all back. */
struct scheme {
    po_heap *heap;
    po_type *type[TYPES];
    value nil, yes, no, unspecified, end_of_file, deleted;
    value characters[256];
    value builtins;      /* a table: symbols to globals, as the prelude and expanded code see them */
    value globals;       /* the program's own: a program that redefines map does not change the prelude's */
    value condition;     /* the error on its way, or NULL */
    value out_of_memory; /* an error made in time */
    value handlers, winds; /* lists of with-exception-handler and dynamic-wind */
    value prelude;       /* the file name of the prelude, whose lines are in no message */

    /* The machine. The stacks are plain memory; what is in them is counted, and that is enough. */
    value *stack;
    size_t stack_count, stack_capacity;
    struct frame *frames;
    size_t frame_count, frame_capacity;
    struct code *code;
    struct environment *environment;
    const struct instruction *next;
    struct code *program; /* what run was given; borrowed: the caller of run keeps it */
    size_t too_deep; /* errors of too deep a recursion that were raised since the stacks were short */
    bool finished;

    /* The compiler's place in the source. */
    value compile_file; /* NULL: it is not at work */
    uint32_t compile_line;
    unsigned nesting;

    bool print_cut; /* what is being printed is too deep, and ends */
    bool exiting;
    int exit_status;
};

#define MAX_NESTING 1000 /* of data in source text, and of expressions: the reader and the compiler use the C stack */

/* ---- value.c ---- */
bool scheme_create(struct scheme *s, size_t memory_limit);
size_t scheme_destroy(struct scheme *s); /* objects that something still refers to: a bug of the interpreter */

/* An object knows its type: values need no tags of their own. */
static inline bool
is(const struct scheme *s, value v, enum type type)
{
    return po_type_of(v) == s->type[type];
}

static inline bool
is_pair(const struct scheme *s, value v)
{
    po_type *type = po_type_of(v);
    return type == s->type[TYPE_PAIR] || type == s->type[TYPE_LOCATED_PAIR];
}

/* Borrowed: the pair keeps them. */
static inline value
car(value pair)
{
    return ((struct pair *)pair)->car;
}

static inline value
cdr(value pair)
{
    return ((struct pair *)pair)->cdr;
}

value cons(struct scheme *s, value head, value tail);
value cons_steal(struct scheme *s, value head, value tail);
value located_pair_steal(struct scheme *s, value head, value tail, uint32_t line);
value list_steal(struct scheme *s, size_t count, ...);
long list_length(const struct scheme *s, value list); /* -1: not a proper list */

/* A list that grows at its end. */
struct list {
    value head; /* owned */
    value last; /* borrowed: the head keeps it; NULL: empty */
};
void list_start(struct scheme *s, struct list *list);
bool list_add_steal(struct scheme *s, struct list *list, value item);
value list_finish(struct list *list, bool good); /* the list, or NULL if not `good` */

value symbol(struct scheme *s, const char *name);
value make_text(struct scheme *s, const char *bytes, size_t length);
const char *text_bytes(value text, size_t *length);
value make_vector(struct scheme *s, size_t count, value fill); /* fill NULL: to be filled at once */
value make_integer(struct scheme *s, int64_t number);
value boolean(struct scheme *s, bool condition);
value nothing(struct scheme *s);
struct global *global_of(struct scheme *s, value name); /* borrowed: the table keeps it; NULL: no memory */
bool define_global(struct scheme *s, const char *name, value content);

/* Set s->condition and return NULL, so that a primitive can return what they return. The irritant may be NULL. */
value fail(struct scheme *s, value irritant, const char *format, ...) __attribute__((format(printf, 3, 4)));
value fail_at(struct scheme *s, value file, uint32_t line, const char *message);
value make_error(struct scheme *s, value message, value irritants, value file, uint32_t line);
value wrong_type(struct scheme *s, value argument, const char *procedure, const char *expected);

/* For functions that return whether they succeeded: return refuse(fail(...)). */
static inline bool
refuse(value failure)
{
    (void)failure;
    return false;
}

/* ---- table.c ---- */
bool is_eqv(const struct scheme *s, value a, value b);
int is_equal(struct scheme *s, value a, value b); /* -1: too deep, an error */
value make_table(struct scheme *s);
value table_get(struct scheme *s, value table, value key); /* borrowed, or NULL */
bool table_put(struct scheme *s, value table, value key, value content);
bool table_delete(struct scheme *s, value table, value key);

/* ---- read.c ---- */
enum read_status { READ_DATUM, READ_END, READ_INCOMPLETE, READ_ERROR };

struct reader {
    struct scheme *s;
    const char *at, *end;
    value file; /* borrowed */
    uint32_t line;
    unsigned nesting;
};
enum read_status read_datum(struct reader *reader, value *datum);
value parse_integer(struct scheme *s, const char *bytes, size_t length, int base); /* NULL: it is none, or too large */

/* ---- print.c ---- */
void print(struct scheme *s, FILE *out, value v, bool write);
void print_condition(struct scheme *s, FILE *out, value condition);
void print_error_message(struct scheme *s, FILE *out, value condition);

/* ---- compile.c ---- */
struct unit;
typedef bool form_compiler(struct unit *u, value expression, bool tail);
typedef value form_expander(struct scheme *s, value expression);

struct form_spec {
    const char *name;
    form_compiler *compile;
    form_expander *expand;
};
extern const struct form_spec core_forms[], derived_forms[];
struct code *compile_program(struct scheme *s, value expression, value file, uint32_t line);
value syntax_error(struct scheme *s, value expression);
value expand_named_let(struct scheme *s, value expression);
bool check_bindings(struct scheme *s, value expression);

/* ---- machine.c ---- */
value run(struct scheme *s, struct code *code); /* NULL: an error nobody handled, or the end (s->exiting) */
void machine_reset(struct scheme *s);
bool machine_place(struct scheme *s, value *file, uint32_t *line); /* file is borrowed */
void machine_interrupt(void);                                   /* from a signal handler */

/* ---- the primitives ---- */
extern const struct primitive_spec list_primitives[], number_primitives[], string_primitives[], object_primitives[],
    machine_primitives[];

/* ---- prelude.scm ---- */
extern const char prelude_text[];
extern const size_t prelude_length;

#endif
