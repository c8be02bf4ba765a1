/* SPDX-License-Identifier: MIT
 *
 * POOLOBJECT_DEBUG, a list of words separated by commas; the only place that reads it.
 *
 *   leak     when a heap is destroyed, or the program ends: what is still alive, by type, and how it is reached
 *   torture  a full collection at each po_new
 *   verify   before each collection, counts are compared with references, and objects are searched for references that
 *            their type does not declare
 *   thread   a heap is used by the thread that created or adopted it only
 *   stats    when a heap is destroyed, or the program ends: its statistics
 *
 * Under torture, verify and thread all counts are biased, so that inline code takes the slow functions, which check.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../geometry.h"
#include "../lock.h"
#include "../os.h"
#include "../text.h"
#include "carry.h"
#include "store.h"

static const struct {
    const char *word;
    uint32_t mode;
} words[] = {
    {"leak", PO_DEBUG_LEAK},     {"torture", PO_DEBUG_TORTURE}, {"verify", PO_DEBUG_VERIFY},
    {"thread", PO_DEBUG_THREAD}, {"stats", PO_DEBUG_STATS},
};

#define WATCHED (PO_DEBUG_TORTURE | PO_DEBUG_VERIFY | PO_DEBUG_THREAD)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t modes;

/* Heaps that are to report at the program's end; the table has room for as many as a page. */
static struct pm_lock lock;
static po_heap *reporting[512];

/* ---- Start ---- */

static void
read_word(const char *word, size_t length)
{
    char text[32] = "";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0) {
            modes |= words[i].mode;
            return;
        }
    memcpy(text, word, length < sizeof text ? length : sizeof text - 1);
    po_say("POOLOBJECT_DEBUG has no mode %s; it has leak, torture, verify, thread and stats", text, NULL, 0);
}

static void
report(po_heap *heap)
{
    if (heap->debug & PO_DEBUG_LEAK) {
        struct po_array outside = {0};
        po_verify_counts(heap, &outside);
        po_debug_leaks(heap, &outside);
        po_array_free(&outside);
    }
    if (heap->debug & PO_DEBUG_STATS)
        po_heap_print_stats(heap, 2, false);
}

static void
report_all(void)
{
    for (size_t i = 0; i < sizeof reporting / sizeof reporting[0]; i++)
        if (reporting[i] != NULL) {
            reporting[i]->owner = po_thread_number();
            report(reporting[i]);
        }
}

static void
read_environment(void)
{
    const char *list = pm_os_is_privileged() ? NULL : getenv("POOLOBJECT_DEBUG");
    while (list != NULL && *list != '\0') {
        size_t length = strcspn(list, ",");
        if (length != 0)
            read_word(list, length);
        list += length + (list[length] == ',');
    }
    if (modes & (PO_DEBUG_LEAK | PO_DEBUG_STATS))
        atexit(report_all);
}

static void
remember(po_heap *old, po_heap *heap)
{
    pm_lock_acquire(&lock);
    for (size_t i = 0; i < sizeof reporting / sizeof reporting[0]; i++)
        if (reporting[i] == old) {
            reporting[i] = heap;
            break;
        }
    pm_lock_release(&lock);
}

void
po_debug_start(po_heap *heap)
{
    pthread_once(&once, read_environment);
    heap->debug = modes;
    heap->watched = modes & WATCHED;
    heap->owner = po_thread_number();
    if (modes & (PO_DEBUG_LEAK | PO_DEBUG_STATS))
        remember(NULL, heap);
}

void
po_debug_end(po_heap *heap, struct po_array *outside)
{
    if ((heap->debug & (PO_DEBUG_LEAK | PO_DEBUG_STATS)) == 0)
        return;
    remember(heap, NULL);
    if (heap->debug & PO_DEBUG_LEAK)
        po_debug_leaks(heap, outside);
    if (heap->debug & PO_DEBUG_STATS)
        po_heap_print_stats(heap, 2, false);
}

uint64_t
po_thread_number(void)
{
    static _Atomic uint64_t last;
    static PM_THREAD_LOCAL uint64_t number;
    if (number == 0)
        number = ++last;
    return number;
}

/* ---- leak ---- */

/* How each object was reached first: the table maps it to the place of the one before in the array, plus 1. */
struct paths {
    struct po_carries from;
    struct po_array objects;
    size_t current;
};

static void
add_path(struct paths *paths, void *object, uint64_t from)
{
    if (po_carry_entry(&paths->from, object) != NULL || !po_array_push(&paths->objects, object))
        return;
    po_carry_add(&paths->from, object, from);
}

static void
follow(void *referent, void *context)
{
    struct paths *paths = context;
    if (referent != NULL && !po_is_immortal(referent))
        add_path(paths, referent, paths->current + 1);
}

static void
write_path(struct pm_text *text, const struct paths *paths, const void *object)
{
    const void *steps[16];
    size_t count = 0;
    bool whole = false;
    while (count < sizeof steps / sizeof steps[0] && !whole) {
        steps[count++] = object;
        uint64_t from = po_carry_entry(&paths->from, object)->count;
        whole = from == 0;
        object = whole ? NULL : paths->objects.items[from - 1];
    }
    pm_text_string(text, whole ? "outside" : "outside > ...");
    while (count > 0) {
        pm_text_string(text, " > ");
        pm_text_string(text, po_type_in(steps[--count])->name);
    }
}

struct leak {
    size_t objects, bytes;
    const void *sample;
};

static void
write_leak(const po_type *type, const struct leak *leak, const struct paths *paths)
{
    struct pm_text text;
    pm_text_start(&text, 2);
    pm_text_string(&text, "poolobject: leak: ");
    pm_text_number(&text, leak->objects);
    pm_text_string(&text, " of type ");
    pm_text_string(&text, type->name);
    pm_text_string(&text, ", ");
    pm_text_number(&text, leak->bytes);
    pm_text_string(&text, " bytes; one, with ");
    pm_text_number(&text, po_refcount(leak->sample));
    pm_text_string(&text, " references, by ");
    write_path(&text, paths, leak->sample);
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
}

void
po_debug_leaks(po_heap *heap, struct po_array *outside)
{
    struct paths paths = {0};
    uint32_t count = 0;
    if (outside == NULL || outside->count == 0)
        return;
    for (size_t i = 0; i < outside->count; i++)
        add_path(&paths, outside->items[i], 0);
    for (paths.current = 0; paths.current < paths.objects.count; paths.current++) {
        void *object = paths.objects.items[paths.current];
        po_visit(object, po_type_in(object), follow, &paths);
    }
    for (po_type *type = heap->types; type != NULL; type = type->next)
        type->place = count++;
    struct leak *leaks = po_map((count + 1) * sizeof *leaks);
    for (size_t i = 0; leaks != NULL && i < paths.objects.count; i++) {
        const void *object = paths.objects.items[i];
        const po_type *type = po_type_in(object);
        if (type->heap != heap)
            continue;
        struct leak *leak = &leaks[type->place];
        leak->sample = leak->objects++ == 0 ? object : leak->sample;
        leak->bytes += po_store_bytes(object);
    }
    for (const po_type *type = heap->types; leaks != NULL && type != NULL; type = type->next)
        if (leaks[type->place].objects != 0)
            write_leak(type, &leaks[type->place], &paths);
    po_unmap(leaks, (count + 1) * sizeof *leaks);
    po_carry_free(&paths.from);
    po_array_free(&paths.objects);
}

/* ---- verify: references that a type does not declare ---- */

struct search {
    po_heap *heap;
    const void *word;
    bool declared;
};

static void
look_for(void *referent, void *context)
{
    struct search *search = context;
    search->declared |= referent == search->word;
}

static bool
is_in_table(const po_type *type, size_t offset)
{
    for (uint32_t i = 0; i < type->reference_count; i++)
        if (type->references[i] == offset)
            return true;
    return false;
}

/* Words that are the address of an object, and no reference that the type visits. Each offset is reported once. */
static void
scan_object(void *object, po_type *type, void *context)
{
    po_heap *heap = context;
    size_t count = type->size / sizeof(void *);
    if (po_has_flag(object, PO_DYING) || type == heap->string_type || type == heap->int_type)
        return;
    for (size_t i = 0; i < count && i < 256; i++) {
        struct search search = {heap, ((void **)object)[i], false};
        if (search.word == NULL || (uintptr_t)search.word % 8 != 0 || (type->reported[i / 64] >> (i % 64) & 1) != 0 ||
            !po_store_is_object(heap, search.word))
            continue;
        if (is_in_table(type, i * sizeof(void *)))
            continue;
        if (type->shape & PO_HAS_TRAVERSE)
            po_visit_rest(object, type, look_for, &search);
        if (search.declared)
            continue;
        type->reported[i / 64] |= UINT64_C(1) << (i % 64);
        po_say("type %s has what looks like a reference to a %s at offset %u that it does not declare", type->name,
               po_type_in(search.word)->name, i * sizeof(void *));
    }
}

void
po_debug_scan(po_heap *heap)
{
    po_walk(heap, PO_WALK_ALL, scan_object, heap);
}
