/* SPDX-License-Identifier: MIT
 *
 * Weak references: a flag in the object, a table by address in the heap, a list of the object's weak references behind
 * each entry. An object without any pays one test at its death.
 *
 * Weak references lie in pages that are never given back to the kernel, so that one that was destroyed is recognised;
 * each outlives its heap. A weak reference is
 *   alive     it has an object, or had one
 *   called    its callback waits for its turn, on a list of whoever clears it
 *   dropped   destroyed while it waited: whoever holds the list frees it
 *   free
 */
#include <errno.h>

#include "../lock.h"
#include "carry.h"
#include "store.h"

#define PAGE_BYTES ((size_t)16384)
#define MAGIC_ALIVE UINT32_C(0x5765616b)

enum state { FREE, ALIVE, CALLED, DROPPED };

struct po_weak {
    uint32_t magic;
    uint32_t state;
    po_heap *heap;
    uint64_t serial;      /* of the heap: another one if it was destroyed */
    void *object;         /* NULL: it died */
    struct po_weak *next, *previous; /* of the object; next: of the list of free or called ones */
    void (*callback)(po_weak *, void *);
    void *context;
    const void *owner;
};

struct entry {
    const void *object;
    struct po_weak *first;
};

struct po_weak_table {
    struct entry *entries;
    size_t count, capacity; /* a power of two */
};

/* Shared by all heaps: those of destroyed heaps, and pages for more. */
static struct pm_lock lock;
static struct po_weak *spare;

/* ---- The table ---- */

static size_t
home_of(const struct po_weak_table *table, const void *object)
{
    return (((uintptr_t)object >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (table->capacity - 1);
}

static struct entry *
find(const po_heap *heap, const void *object)
{
    struct po_weak_table *table = heap->weak_table;
    size_t at = home_of(table, object);
    while (table->entries[at].object != NULL && table->entries[at].object != object)
        at = (at + 1) & (table->capacity - 1);
    return &table->entries[at];
}

static bool
grow(po_heap *heap)
{
    struct po_weak_table *table = heap->weak_table;
    if (table == NULL && (heap->weak_table = table = po_map(sizeof *table)) == NULL)
        return false;
    if (4 * (table->count + 1) <= 3 * table->capacity)
        return true;
    struct po_weak_table old = *table;
    size_t capacity = old.capacity != 0 ? 2 * old.capacity : 256;
    struct entry *entries = po_map(capacity * sizeof *entries);
    if (entries == NULL)
        return false;
    table->entries = entries;
    table->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].object != NULL)
            *find(heap, old.entries[i].object) = old.entries[i];
    po_unmap(old.entries, old.capacity * sizeof *entries);
    return true;
}

/* Takes the entry out; those behind it move up, so that no search ends too early. */
static void
remove_entry(po_heap *heap, struct entry *entry)
{
    struct po_weak_table *table = heap->weak_table;
    size_t mask = table->capacity - 1, hole = (size_t)(entry - table->entries);
    for (size_t at = (hole + 1) & mask; table->entries[at].object != NULL; at = (at + 1) & mask) {
        size_t home = home_of(table, table->entries[at].object);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        table->entries[hole] = table->entries[at];
        hole = at;
    }
    table->entries[hole] = (struct entry){0};
    table->count--;
}

/* ---- Weak references ---- */

static bool
fetch_page(void)
{
    struct po_weak *page = po_map(PAGE_BYTES);
    if (page == NULL)
        return false;
    for (size_t i = 0; i < PAGE_BYTES / sizeof *page; i++) {
        page[i].next = spare;
        spare = &page[i];
    }
    return true;
}

/* A batch for the heap: the lock is for a hundred at once. */
static bool
fetch(po_heap *heap)
{
    pm_lock_acquire(&lock);
    bool some = spare != NULL || fetch_page();
    for (unsigned i = 0; i < 128 && spare != NULL; i++) {
        struct po_weak *weak = spare;
        spare = weak->next;
        weak->next = heap->weak_free;
        heap->weak_free = weak;
    }
    pm_lock_release(&lock);
    return some;
}

/* The struct of a heap stays readable for good. */
static bool
has_heap(const struct po_weak *weak)
{
    return __atomic_load_n(&weak->heap->serial, __ATOMIC_RELAXED) == weak->serial;
}

static void
free_weak(struct po_weak *weak)
{
    po_heap *heap = weak->heap;
    bool alive = has_heap(weak);
    weak->magic = 0;
    weak->state = FREE;
    weak->object = NULL;
    if (alive) {
        heap->weak_count--;
        heap->weak_owned -= weak->owner != NULL;
        weak->next = heap->weak_free;
        heap->weak_free = weak;
        return;
    }
    pm_lock_acquire(&lock);
    weak->next = spare;
    spare = weak;
    pm_lock_release(&lock);
}

static void
check_weak(const struct po_weak *weak, const char *call)
{
    if (PM_UNLIKELY(weak->magic != MAGIC_ALIVE || weak->state == DROPPED))
        po_fault_call(call, "the weak reference was destroyed");
    if (PM_UNLIKELY(weak->heap->watched != 0 && has_heap(weak)))
        po_check_use(weak->heap, call);
}

po_weak *
po_weak_create(void *object, void (*callback)(po_weak *, void *), void *context)
{
    if (object == NULL || po_has_flag(object, PO_DYING | PO_SHARED)) {
        errno = EINVAL;
        return NULL;
    }
    po_heap *heap = po_heap_of(object);
    po_check_heap(heap, "po_weak_create");
    if (!grow(heap) || (heap->weak_free == NULL && !fetch(heap))) {
        errno = ENOMEM;
        return NULL;
    }
    struct po_weak *weak = heap->weak_free;
    struct entry *entry = find(heap, object);
    heap->weak_free = weak->next;
    *weak = (struct po_weak){.magic = MAGIC_ALIVE,
                             .state = ALIVE,
                             .heap = heap,
                             .serial = heap->serial,
                             .object = object,
                             .next = entry->first,
                             .callback = callback,
                             .context = context};
    if (entry->first != NULL)
        entry->first->previous = weak;
    heap->weak_table->count += entry->object == NULL;
    *entry = (struct entry){object, weak};
    po_write_info(po_header(object), po_header(object)->info | PO_HAS_WEAK);
    heap->weak_count++;
    return weak;
}

void *
po_weak_get(po_weak *weak)
{
    if (weak == NULL)
        return NULL;
    check_weak(weak, "po_weak_get");
    if (weak->object == NULL || po_has_flag(weak->object, PO_DYING))
        return NULL;
    return po_incref(weak->object);
}

void
po_weak_set_owner(po_weak *weak, const void *owner)
{
    if (weak == NULL)
        return;
    check_weak(weak, "po_weak_set_owner");
    if (has_heap(weak)) {
        po_heap *heap = weak->heap;
        heap->weak_owned += (size_t)(owner != NULL) - (size_t)(weak->owner != NULL);
        if (PM_UNLIKELY(heap->ending)) /* the owner lies where a condemned object lay */
            po_weak_spare(heap, (void *const[]){(void *)owner}, 1);
    }
    weak->owner = owner;
}

/* Out of the object's list. */
static void
detach(struct po_weak *weak)
{
    po_heap *heap = weak->heap;
    if (weak->next != NULL)
        weak->next->previous = weak->previous;
    if (weak->previous != NULL) {
        weak->previous->next = weak->next;
    } else {
        struct entry *entry = find(heap, weak->object);
        entry->first = weak->next;
        if (entry->first == NULL) {
            remove_entry(heap, entry);
            po_write_info(po_header(weak->object), po_header(weak->object)->info & ~(uint32_t)PO_HAS_WEAK);
        }
    }
    weak->next = weak->previous = NULL;
    weak->object = NULL;
}

void
po_weak_destroy(po_weak *weak)
{
    if (weak == NULL)
        return;
    check_weak(weak, "po_weak_destroy");
    if (weak->state == CALLED) {
        weak->state = DROPPED;
        return;
    }
    if (weak->object != NULL)
        detach(weak);
    free_weak(weak);
}

/* ---- The condemned ---- */

bool
po_weak_condemn(po_heap *heap, void *const *objects, size_t count)
{
    struct po_carries *condemned = heap->condemned;
    if (heap->weak_owned == 0 || condemned->count != 0)
        return true;
    for (size_t i = 0; i < count && !condemned->failed; i++)
        po_carry_add(condemned, objects[i], 1);
    return !condemned->failed;
}

void
po_weak_spare(po_heap *heap, void *const *objects, size_t count)
{
    for (size_t i = 0; heap->condemned->count != 0 && i < count; i++) {
        struct po_carry *entry = po_carry_entry(heap->condemned, objects[i]);
        if (entry != NULL)
            entry->count = 0;
    }
}

static bool
is_condemned(const po_heap *heap, const void *object)
{
    return object != NULL && heap->condemned != NULL && po_carry_find(heap->condemned, object) != 0;
}

/* ---- The object dies ---- */

/* Clears the object's weak references: all, or only those with callbacks. Adds those to be called to `list`, in the
 * order in which they were created. One that is trash itself is not called. */
static void
clear(po_heap *heap, void *object, bool all, bool call, struct po_weak **list)
{
    struct po_weak *next;
    for (struct po_weak *weak = find(heap, object)->first; weak != NULL; weak = next) {
        next = weak->next;
        if (!all && weak->callback == NULL)
            continue;
        detach(weak);
        if (!call || weak->callback == NULL || is_condemned(heap, weak->owner))
            continue;
        weak->state = CALLED;
        weak->next = *list;
        *list = weak;
    }
}

static void
call_list(struct po_weak *list)
{
    while (list != NULL) {
        struct po_weak *weak = list;
        list = weak->next;
        weak->next = NULL;
        bool dropped = weak->state == DROPPED;
        weak->state = ALIVE;
        if (dropped)
            free_weak(weak);
        else
            weak->callback(weak, weak->context);
    }
}

void
po_weak_object_dies(po_heap *heap, void *object)
{
    struct po_weak *list = NULL;
    clear(heap, object, true, true, &list);
    call_list(list);
}

bool
po_weak_any(po_heap *heap)
{
    return heap->weak_table != NULL && heap->weak_table->count != 0;
}

bool
po_weak_clear_called(po_heap *heap, void **objects, size_t count)
{
    struct po_weak *list = NULL;
    if (!po_weak_any(heap))
        return false;
    for (size_t i = 0; i < count; i++)
        if (po_has_flag(objects[i], PO_HAS_WEAK))
            clear(heap, objects[i], false, true, &list);
    bool any = list != NULL;
    call_list(list);
    return any;
}

void
po_weak_clear_all(po_heap *heap, void *object)
{
    struct po_weak *list = NULL;
    clear(heap, object, true, false, &list);
}

/* ---- The heap dies, or an object leaves it ---- */

void
po_weak_heap_dies(po_heap *heap)
{
    struct po_weak_table *table = heap->weak_table;
    for (size_t i = 0; table != NULL && i < table->capacity; i++)
        for (struct po_weak *weak = table->entries[i].first, *next; weak != NULL; weak = next) {
            next = weak->next;
            weak->object = NULL;
            weak->next = weak->previous = NULL;
        }
    if (table != NULL) {
        po_unmap(table->entries, table->capacity * sizeof *table->entries);
        po_unmap(table, sizeof *table);
        heap->weak_table = NULL;
    }
    pm_lock_acquire(&lock);
    for (struct po_weak *weak = heap->weak_free, *next; weak != NULL; weak = next) {
        next = weak->next;
        weak->next = spare;
        spare = weak;
    }
    pm_lock_release(&lock);
    heap->weak_free = NULL;
}
