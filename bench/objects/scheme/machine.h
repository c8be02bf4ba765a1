/* SPDX-License-Identifier: MIT
 *
 * The instructions, between compile.c and machine.c. Each expression leaves one value on the stack.
 */
#ifndef SCHEME_MACHINE_H
#define SCHEME_MACHINE_H

enum operation {
    OP_CONSTANT,      /* push constant `argument` */
    OP_LOCAL,         /* push slot `argument` of the environment */
    OP_OUTER,         /* push slot `argument` of the environment `depth` further out */
    OP_GLOBAL,        /* push the value of the global in constant `argument` */
    OP_SET_LOCAL,     /* pop into slot `argument`, `depth` out; push nothing's value */
    OP_SET_GLOBAL,    /* pop into the global in constant `argument`, which must be defined */
    OP_DEFINE_GLOBAL, /* the same, defined or not */
    OP_POP,
    OP_JUMP,
    OP_JUMP_IF_FALSE, /* pops */
    OP_JUMP_IF_TRUE,  /* pops */
    OP_AND,           /* if the top is false jump with it, else pop */
    OP_OR,            /* if the top is true jump with it, else pop */
    OP_MATCH,         /* push whether the top is eqv? to constant `argument` */
    OP_CLOSURE,       /* push a closure of constant `argument` and the environment */
    OP_LET,           /* a new environment with `argument` slots; the first `depth` are popped from the stack */
    OP_LEAVE,         /* back to the environment outside */
    OP_CALL,          /* the procedure and `argument` arguments are on the stack */
    OP_TAIL_CALL,
    OP_RETURN,
};

#endif
