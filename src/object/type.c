/* SPDX-License-Identifier: MIT
 *
 * Types: made from specifications, numbered for the whole process, alive as long as their heap. The table of numbers
 * is a reserved range that never moves, so that it is read without a lock; numbers are given under one.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "../geometry.h"
#include "../lock.h"
#include "../os.h"
#include "store.h"

#define SIZE_LIMIT ((size_t)1 << 31)
#define TABLE_BYTES (((size_t)PO_NUMBER_MAX + 1) * sizeof(po_type *))
#define TABLE_STEP ((size_t)65536) /* bytes of the table that become usable at once */

po_type **po_types;

static po_type no_type = {.name = "none", .magazine = &po_no_magazine};
static struct pm_lock lock;
static uint32_t next_number = 1, free_number; /* a free entry holds the next free number, times 2, plus 1 */
static size_t usable;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
before_fork(void)
{
    pm_lock_acquire(&lock);
}

static void
after_fork(void)
{
    pm_lock_release(&lock);
}

static void
start(void)
{
    void *table = pm_os_reserve(TABLE_BYTES, pm_os_page_size());
    if (table == NULL || !pm_os_commit(table, TABLE_STEP) ||
        pthread_atfork(before_fork, after_fork, after_fork) != 0)
        return;
    usable = TABLE_STEP;
    po_types = table;
    po_types[0] = &no_type;
}

bool
po_types_start(void)
{
    pthread_once(&once, start);
    return po_types != NULL;
}

static uint32_t
take_number(po_type *type)
{
    uint32_t number = 0;
    pm_lock_acquire(&lock);
    if (free_number != 0) {
        number = free_number;
        free_number = (uint32_t)((uintptr_t)po_types[number] >> 1);
    } else if (next_number <= PO_NUMBER_MAX) {
        bool fits = (next_number + 1) * sizeof(po_type *) <= usable;
        if (!fits && pm_os_commit((char *)po_types + usable, TABLE_STEP)) {
            usable += TABLE_STEP;
            fits = true;
        }
        number = fits ? next_number++ : 0;
    }
    if (number != 0)
        po_types[number] = type;
    pm_lock_release(&lock);
    return number;
}

static void
give_number(uint32_t number)
{
    pm_lock_acquire(&lock);
    po_types[number] = (po_type *)(((uintptr_t)free_number << 1) | 1);
    free_number = number;
    pm_lock_release(&lock);
}

static size_t
count_offsets(const uint16_t *offsets)
{
    size_t count = 0;
    while (offsets != NULL && offsets[count] != PO_END)
        count++;
    return count;
}

static bool
is_valid(const struct po_type_spec *spec)
{
    if (spec->name == NULL || spec->name[0] == '\0' || spec->size > SIZE_LIMIT || spec->item_size > SIZE_LIMIT ||
        (spec->flags & ~(PO_ACYCLIC | PO_ALIGN_16)) != 0)
        return false;
    size_t count = count_offsets(spec->references);
    for (size_t i = 0; i < count; i++)
        if (spec->references[i] % sizeof(void *) != 0 || spec->references[i] + sizeof(void *) > spec->size)
            return false;
    return !spec->items_are_references || (spec->item_size == sizeof(void *) && spec->size % sizeof(void *) == 0);
}

static unsigned
kind_of(const po_type *type)
{
    return (type->tracked ? 0u : PO_KIND_ACYCLIC) | (type->has_items ? PO_KIND_ITEMS : 0u) |
           (type->flags & PO_ALIGN_16 ? PO_KIND_ALIGN_16 : 0u);
}

/* The struct, the offsets, the name, in pages of its own: a type's words are read by each release. */
static po_type *
allocate(const struct po_type_spec *spec)
{
    size_t count = count_offsets(spec->references), length = strlen(spec->name) + 1;
    size_t bytes = sizeof(po_type) + count * sizeof(uint16_t) + length;
    po_type *type = po_map(bytes);
    if (type == NULL)
        return NULL;
    uint16_t *offsets = (uint16_t *)(type + 1);
    if (count != 0)
        memcpy(offsets, spec->references, count * sizeof(uint16_t));
    type->references = offsets;
    type->reference_count = (uint32_t)count;
    type->name = memcpy(offsets + count, spec->name, length);
    type->bytes = bytes;
    return type;
}

static void
set_quick(const po_heap *heap, po_type *type)
{
    bool plain = type->shape == 0 && type->clear == NULL && type->finalize == NULL && type->destroy == NULL;
    bool peculiar = heap->frozen != 0 || heap->guest_arenas != 0 || heap->watched != 0;
    type->quick = plain && !peculiar && type->magazine != &po_no_magazine ? type->magazine : NULL;
}

void
po_types_set_quick(po_heap *heap)
{
    for (po_type *type = heap->types; type != NULL; type = type->next)
        set_quick(heap, type);
}

po_type *
po_type_make(po_heap *heap, const struct po_type_spec *spec)
{
    po_type *type = allocate(spec);
    uint32_t number = type != NULL ? take_number(type) : 0;
    if (number == 0) {
        if (type != NULL)
            po_unmap(type, type->bytes);
        return NULL;
    }
    type->heap = heap;
    type->number = number;
    type->size = spec->size;
    type->item_size = spec->item_size;
    type->flags = spec->flags;
    type->tracked = !(spec->flags & PO_ACYCLIC);
    type->has_items = spec->item_size != 0;
    type->shape = (uint8_t)((spec->items_are_references ? PO_HAS_ITEMS : 0) | (spec->traverse ? PO_HAS_TRAVERSE : 0));
    type->traverse = spec->traverse;
    type->clear = spec->clear;
    type->finalize = spec->finalize;
    type->destroy = spec->destroy;
    uint64_t count = heap->watched != 0 ? PO_WATCHED_COUNT | 1 : 1;
    uint32_t info = number << PO_NUMBER_SHIFT | (type->tracked ? 0u : PO_UNTRACKED);
    type->fresh = (uint64_t)info << 32 | count;
    type->magazine = &po_no_magazine;
    type->next = heap->types;
    heap->types = type;
    heap->has_finalizers |= spec->finalize != NULL;
    bool large;
    struct po_magazine *magazine = type->has_items ? NULL : po_store_magazine(heap, spec->size, kind_of(type), &large);
    if (magazine != NULL && heap->watched == 0) {
        type->magazine = magazine;
        type->words = magazine->units - 1u;
    }
    set_quick(heap, type);
    return type;
}

po_type *
po_type_create(po_heap *heap, const struct po_type_spec *spec)
{
    if (heap == NULL || spec == NULL || !is_valid(spec)) {
        errno = EINVAL;
        return NULL;
    }
    po_check_heap(heap, "po_type_create");
    po_type *type = po_type_make(heap, spec);
    if (type == NULL)
        errno = ENOMEM;
    return type;
}

const char *
po_type_name(const po_type *type)
{
    return type->name;
}

void
po_types_destroy(po_heap *heap)
{
    for (po_type *type = heap->types, *next; type != NULL; type = next) {
        next = type->next;
        give_number(type->number);
        po_unmap(type, type->bytes);
    }
}
