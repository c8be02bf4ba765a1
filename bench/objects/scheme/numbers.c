/* SPDX-License-Identifier: MIT
 *
 * Primitives about integers of 64 bits. A result that does not fit is an error.
 */
#include "scheme.h"

#include <inttypes.h>
#include <string.h>

static bool
need_integer(struct scheme *s, value v, const char *name, int64_t *number)
{
    if (!is(s, v, TYPE_INTEGER))
        return refuse(wrong_type(s, v, name, "an integer"));
    *number = po_int_value(v);
    return true;
}

static value
overflow(struct scheme *s, const char *name)
{
    return fail(s, NULL, "%s: the result does not fit in 64 bits", name);
}

/* ---- Sums and products ---- */

static bool
combine(char operation, int64_t a, int64_t b, int64_t *result)
{
    return operation == '+'   ? !__builtin_add_overflow(a, b, result)
           : operation == '-' ? !__builtin_sub_overflow(a, b, result)
                              : !__builtin_mul_overflow(a, b, result);
}

static value
fold(struct scheme *s, value *a, size_t count, int64_t start, const char *name)
{
    int64_t sum = start, next;
    for (size_t i = 0; i < count; i++) {
        if (!need_integer(s, a[i], name, &next))
            return NULL;
        if (!combine(name[0], sum, next, &sum))
            return overflow(s, name);
    }
    return make_integer(s, sum);
}

static value
add(struct scheme *s, value *a, size_t count)
{
    return fold(s, a, count, 0, "+");
}

static value
multiply(struct scheme *s, value *a, size_t count)
{
    return fold(s, a, count, 1, "*");
}

static value
subtract(struct scheme *s, value *a, size_t count)
{
    int64_t first;
    if (!need_integer(s, a[0], "-", &first))
        return NULL;
    return count == 1 ? fold(s, a, 1, 0, "-") : fold(s, a + 1, count - 1, first, "-");
}

/* ---- Division ---- */

static bool
need_division(struct scheme *s, value *a, const char *name, int64_t *n, int64_t *d)
{
    if (!need_integer(s, a[0], name, n) || !need_integer(s, a[1], name, d))
        return false;
    if (*d == 0)
        return refuse(fail(s, NULL, "%s: division by zero", name));
    return true;
}

static value
quotient(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t n, d;
    if (!need_division(s, a, "quotient", &n, &d))
        return NULL;
    return n == INT64_MIN && d == -1 ? overflow(s, "quotient") : make_integer(s, n / d);
}

static value
remainder_of(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t n, d;
    return need_division(s, a, "remainder", &n, &d) ? make_integer(s, d == -1 ? 0 : n % d) : NULL;
}

static value
modulo(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t n, d;
    if (!need_division(s, a, "modulo", &n, &d))
        return NULL;
    int64_t rest = d == -1 ? 0 : n % d;
    return make_integer(s, rest != 0 && (rest < 0) != (d < 0) ? rest + d : rest);
}

static value
expt(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t base, exponent, result = 1;
    if (!need_integer(s, a[0], "expt", &base) || !need_integer(s, a[1], "expt", &exponent))
        return NULL;
    if (exponent < 0)
        return wrong_type(s, a[1], "expt", "an exponent that is not negative");
    for (bool good = true;;) {
        if (exponent & 1)
            good = good && combine('*', result, base, &result);
        if (!good)
            return overflow(s, "expt");
        if ((exponent >>= 1) == 0)
            return make_integer(s, result);
        good = combine('*', base, base, &base);
    }
}

/* The largest integer whose square is not above n. */
static value
exact_root(struct scheme *s, value *a, size_t count)
{
    (void)count;
    int64_t n, root = 0;
    if (!need_integer(s, a[0], "isqrt", &n))
        return NULL;
    if (n < 0)
        return wrong_type(s, a[0], "isqrt", "a number that is not negative");
    for (int64_t bit = (int64_t)1 << 31; bit > 0; bit >>= 1)
        if ((root | bit) <= n / (root | bit))
            root |= bit;
    return make_integer(s, root);
}

/* ---- Comparison ---- */

static value
compare(struct scheme *s, value *a, size_t count, const char *name)
{
    int64_t left, right;
    bool good = true;
    if (!need_integer(s, a[0], name, &left))
        return NULL;
    for (size_t i = 1; i < count; i++, left = right) {
        if (!need_integer(s, a[i], name, &right))
            return NULL;
        int order = (left > right) - (left < right);
        bool equal = name[1] == '=' || name[0] == '=';
        good = good && ((order == 0 && equal) || (order < 0 && name[0] == '<') || (order > 0 && name[0] == '>'));
    }
    return boolean(s, good);
}

#define COMPARISON(function, name)                                   \
    static value function(struct scheme *s, value *a, size_t count) \
    {                                                                \
        return compare(s, a, count, name);                           \
    }
COMPARISON(equal, "=")
COMPARISON(less, "<")
COMPARISON(greater, ">")
COMPARISON(at_most, "<=")
COMPARISON(at_least, ">=")

static value
extreme(struct scheme *s, value *a, size_t count, const char *name)
{
    int64_t best, next;
    if (!need_integer(s, a[0], name, &best))
        return NULL;
    for (size_t i = 1; i < count; i++) {
        if (!need_integer(s, a[i], name, &next))
            return NULL;
        if (name[1] == 'i' ? next < best : next > best)
            best = next;
    }
    return make_integer(s, best);
}

static value
minimum(struct scheme *s, value *a, size_t count)
{
    return extreme(s, a, count, "min");
}

static value
maximum(struct scheme *s, value *a, size_t count)
{
    return extreme(s, a, count, "max");
}

static value
is_integer(struct scheme *s, value *a, size_t count)
{
    (void)count;
    return boolean(s, is(s, a[0], TYPE_INTEGER));
}

/* ---- Bits ---- */

#define BITWISE(function, name, operator)                                                 \
    static value function(struct scheme *s, value *a, size_t count)                       \
    {                                                                                     \
        int64_t left, right;                                                              \
        (void)count;                                                                      \
        if (!need_integer(s, a[0], name, &left) || !need_integer(s, a[1], name, &right)) \
            return NULL;                                                                  \
        return make_integer(s, left operator right);                                      \
    }
BITWISE(bitwise_and, "bitwise-and", &)
BITWISE(bitwise_or, "bitwise-or", |)
BITWISE(bitwise_xor, "bitwise-xor", ^)

/* ---- Text ---- */

static bool
need_base(struct scheme *s, value *a, size_t count, const char *name, int64_t *base)
{
    *base = 10;
    if (count == 2 && !need_integer(s, a[1], name, base))
        return false;
    if (*base < 2 || *base > 36)
        return refuse(wrong_type(s, a[1], name, "a base from 2 to 36"));
    return true;
}

static value
number_to_string(struct scheme *s, value *a, size_t count)
{
    char digits[70], *start = digits + sizeof digits;
    int64_t number, base;
    if (!need_integer(s, a[0], "number->string", &number) || !need_base(s, a, count, "number->string", &base))
        return NULL;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        *--start = "0123456789abcdefghijklmnopqrstuvwxyz"[rest % (uint64_t)base];
        rest /= (uint64_t)base;
    } while (rest != 0);
    if (number < 0)
        *--start = '-';
    return make_text(s, start, (size_t)(digits + sizeof digits - start));
}

static value
string_to_number(struct scheme *s, value *a, size_t count)
{
    int64_t base;
    size_t length;
    if (!is(s, a[0], TYPE_TEXT))
        return wrong_type(s, a[0], "string->number", "a string");
    if (!need_base(s, a, count, "string->number", &base))
        return NULL;
    const char *bytes = text_bytes(a[0], &length);
    value number = parse_integer(s, bytes, length, (int)base);
    return number != NULL ? number : boolean(s, false);
}

const struct primitive_spec number_primitives[] = {
    {"+", add, 0, -1, ORDINARY},
    {"*", multiply, 0, -1, ORDINARY},
    {"-", subtract, 1, -1, ORDINARY},
    {"quotient", quotient, 2, 2, ORDINARY},
    {"remainder", remainder_of, 2, 2, ORDINARY},
    {"modulo", modulo, 2, 2, ORDINARY},
    {"expt", expt, 2, 2, ORDINARY},
    {"isqrt", exact_root, 1, 1, ORDINARY},
    {"=", equal, 1, -1, ORDINARY},
    {"<", less, 1, -1, ORDINARY},
    {">", greater, 1, -1, ORDINARY},
    {"<=", at_most, 1, -1, ORDINARY},
    {">=", at_least, 1, -1, ORDINARY},
    {"min", minimum, 1, -1, ORDINARY},
    {"max", maximum, 1, -1, ORDINARY},
    {"integer?", is_integer, 1, 1, ORDINARY},
    {"number?", is_integer, 1, 1, ORDINARY},
    {"bitwise-and", bitwise_and, 2, 2, ORDINARY},
    {"bitwise-or", bitwise_or, 2, 2, ORDINARY},
    {"bitwise-xor", bitwise_xor, 2, 2, ORDINARY},
    {"number->string", number_to_string, 1, 2, ORDINARY},
    {"string->number", string_to_number, 1, 2, ORDINARY},
    {NULL, NULL, 0, 0, ORDINARY},
};
