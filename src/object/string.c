/* SPDX-License-Identifier: MIT
 *
 * Strings, interned strings, integers. A string is an object of an acyclic type with a byte for each item, and a zero
 * byte behind them. The table of interned strings holds no references: a string that dies takes itself out, before its
 * block is free, so no search ever finds a dying one.
 */
#include <errno.h>
#include <string.h>

#include "store.h"

#define INT_MIN_SMALL (-5)
#define INT_MAX_SMALL 256
#define SMALL_INTS (INT_MAX_SMALL - INT_MIN_SMALL + 1)

struct slot {
    void *string;
    uint64_t hash;
};

struct po_strings {
    struct slot *slots;
    size_t count, capacity; /* a power of two, a third of them free at least */
};

static const struct po_type_spec string_spec = {.name = "string", .item_size = 1, .flags = PO_ACYCLIC};
static const struct po_type_spec int_spec = {.name = "int", .size = sizeof(int64_t), .flags = PO_ACYCLIC};

/* ---- Strings ---- */

static po_type *
builtin_type(po_heap *heap, po_type **type, const struct po_type_spec *spec)
{
    if (*type == NULL)
        *type = po_type_make(heap, spec);
    return *type;
}

static bool
check_arguments(po_heap *heap, const char *bytes, size_t length, const char *call)
{
    if (heap == NULL || (bytes == NULL && length != 0)) {
        errno = EINVAL;
        return false;
    }
    po_check_heap(heap, call);
    if (builtin_type(heap, &heap->string_type, &string_spec) == NULL) {
        errno = ENOMEM;
        return false;
    }
    return true;
}

static void *
new_string(po_heap *heap, const char *bytes, size_t length)
{
    char *string = po_new_items(heap->string_type, length);
    if (string != NULL && length != 0)
        memcpy(string, bytes, length);
    return string;
}

void *
po_string(po_heap *heap, const char *bytes, size_t length)
{
    return check_arguments(heap, bytes, length, "po_string") ? new_string(heap, bytes, length) : NULL;
}

const char *
po_string_bytes(const void *string, size_t *length)
{
    const po_type *type = string != NULL ? po_type_in(string) : NULL;
    if (type == NULL || type != type->heap->string_type) {
        errno = EINVAL;
        return NULL;
    }
    if (length != NULL)
        *length = (size_t)*po_items_word(string);
    return string;
}

/* ---- Interned ones ---- */

static uint64_t
mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Eight bytes at a time. Not against an adversary: the table is for names. */
static uint64_t
hash_of(const char *bytes, size_t length)
{
    uint64_t hash = UINT64_C(0x9E3779B97F4A7C15) ^ length, word = 0;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = mix(hash ^ word, UINT64_C(0xE7037ED1A0B428DB));
    }
    word = 0;
    memcpy(&word, bytes, length);
    return mix(hash ^ word, UINT64_C(0x8EBC6AF09C88C6E3));
}

static bool
is_string(const struct slot *slot, uint64_t hash, const char *bytes, size_t length)
{
    return slot->hash == hash && *po_items_word(slot->string) == length && memcmp(slot->string, bytes, length) == 0;
}

static struct slot *
find(const struct po_strings *strings, uint64_t hash, const char *bytes, size_t length)
{
    size_t mask = strings->capacity - 1, at = hash & mask;
    while (strings->slots[at].string != NULL && !is_string(&strings->slots[at], hash, bytes, length))
        at = (at + 1) & mask;
    return &strings->slots[at];
}

static bool
grow(po_heap *heap)
{
    struct po_strings *strings = heap->strings;
    if (strings == NULL && (heap->strings = strings = po_map(sizeof *strings)) == NULL)
        return false;
    if (3 * (strings->count + 1) <= 2 * strings->capacity)
        return true;
    size_t capacity = strings->capacity != 0 ? 2 * strings->capacity : 256;
    struct slot *slots = po_map(capacity * sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < strings->capacity; i++) {
        if (strings->slots[i].string == NULL)
            continue;
        size_t at = strings->slots[i].hash & (capacity - 1);
        while (slots[at].string != NULL)
            at = (at + 1) & (capacity - 1);
        slots[at] = strings->slots[i];
    }
    po_unmap(strings->slots, strings->capacity * sizeof *slots);
    strings->slots = slots;
    strings->capacity = capacity;
    return true;
}

void *
po_intern(po_heap *heap, const char *bytes, size_t length)
{
    if (!check_arguments(heap, bytes, length, "po_intern"))
        return NULL;
    if (bytes == NULL)
        bytes = "";
    if (!grow(heap)) {
        errno = ENOMEM;
        return NULL;
    }
    uint64_t hash = hash_of(bytes, length);
    struct slot *slot = find(heap->strings, hash, bytes, length);
    if (slot->string != NULL)
        return po_incref(slot->string);
    void *string = new_string(heap, bytes, length);
    if (string == NULL)
        return NULL;
    /* Making it may have collected, and finalizers may have interned the same bytes. */
    if (!grow(heap)) {
        po_decref(string);
        errno = ENOMEM;
        return NULL;
    }
    slot = find(heap->strings, hash, bytes, length);
    if (slot->string != NULL) {
        po_decref(string);
        return po_incref(slot->string);
    }
    *slot = (struct slot){string, hash};
    heap->strings->count++;
    po_write_info(po_header(string), po_header(string)->info | PO_INTERNED);
    return string;
}

void
po_string_forget(po_heap *heap, void *string)
{
    struct po_strings *strings = heap->strings;
    size_t length = (size_t)*po_items_word(string), mask = strings->capacity - 1;
    size_t hole = (size_t)(find(strings, hash_of(string, length), string, length) - strings->slots);
    for (size_t at = (hole + 1) & mask; strings->slots[at].string != NULL; at = (at + 1) & mask) {
        size_t home = strings->slots[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        strings->slots[hole] = strings->slots[at];
        hole = at;
    }
    strings->slots[hole] = (struct slot){0};
    strings->count--;
    po_write_info(po_header(string), po_header(string)->info & ~(uint32_t)PO_INTERNED);
}

size_t
po_strings_count(const po_heap *heap)
{
    return heap->strings != NULL ? heap->strings->count : 0;
}

void
po_strings_destroy(po_heap *heap)
{
    if (heap->strings != NULL) {
        po_unmap(heap->strings->slots, heap->strings->capacity * sizeof(struct slot));
        po_unmap(heap->strings, sizeof *heap->strings);
    }
    po_unmap(heap->small_ints, SMALL_INTS * sizeof(void *));
}

/* ---- Integers ---- */

static void *
new_int(po_heap *heap, int64_t value)
{
    int64_t *integer = po_new(heap->int_type);
    if (integer != NULL)
        *integer = value;
    return integer;
}

void *
po_int(po_heap *heap, int64_t value)
{
    if (heap == NULL) {
        errno = EINVAL;
        return NULL;
    }
    po_check_heap(heap, "po_int");
    if (builtin_type(heap, &heap->int_type, &int_spec) == NULL ||
        (heap->small_ints == NULL && (heap->small_ints = po_map(SMALL_INTS * sizeof(void *))) == NULL)) {
        errno = ENOMEM;
        return NULL;
    }
    if (value < INT_MIN_SMALL || value > INT_MAX_SMALL)
        return new_int(heap, value);
    void **small = (void **)heap->small_ints + (value - INT_MIN_SMALL);
    if (*small == NULL) {
        void *integer = new_int(heap, value);
        if (integer == NULL)
            return NULL;
        po_make_immortal(integer);
        if (*small == NULL)
            *small = integer;
    }
    return *small;
}

int64_t
po_int_value(const void *integer)
{
    const po_type *type = integer != NULL ? po_type_in(integer) : NULL;
    if (type == NULL || type != type->heap->int_type) {
        errno = EINVAL;
        return 0;
    }
    return *(const int64_t *)integer;
}
