/* SPDX-License-Identifier: MIT
 *
 * Statistics of a heap, found by a walk when somebody asks: nothing is counted while the program runs. As text and as
 * JSON, written without stdio.
 */
#include <string.h>

#include "../geometry.h"
#include "../text.h"
#include "store.h"

struct totals {
    size_t objects, bytes;
};

struct survey {
    po_heap *heap;
    struct po_heap_stats *stats;
    struct totals *types; /* by place in the heap's list, as type->scratch says; NULL: not wanted */
};

static void
count_object(void *object, po_type *type, void *context)
{
    struct survey *survey = context;
    struct po_heap_stats *stats = survey->stats;
    size_t bytes = po_store_bytes(object);
    if (po_has_flag(object, PO_DYING))
        return;
    stats->objects++;
    stats->bytes += bytes;
    stats->tracked += po_gc_is_tracked(object);
    stats->shared += po_has_flag(object, PO_SHARED);
    stats->immortal += po_is_immortal(object);
    if (survey->types != NULL) {
        survey->types[type->place].objects++;
        survey->types[type->place].bytes += bytes;
    }
}

static void
take_survey(struct survey *survey)
{
    po_heap *heap = survey->heap;
    memset(survey->stats, 0, sizeof *survey->stats);
    po_store_drain(heap);
    po_young_compact(heap);
    po_walk(heap, PO_WALK_ALL, count_object, survey);
    struct po_heap_stats *stats = survey->stats;
    stats->frozen = heap->frozen;
    stats->weak_references = heap->weak_count;
    stats->interned = po_strings_count(heap);
    stats->held_bytes = po_store_held(heap);
    stats->collector_bytes = po_old_bytes(heap) + po_subset_bytes(heap) +
                             (heap->young.capacity + heap->middle.capacity) * sizeof(void *) +
                             ((size_t)heap->frozen_slots << (PO_SLOT_SHIFT - 3));
    stats->young = heap->young.count - (heap->young.items != NULL);
    stats->middle = heap->middle.count;
}

void
po_heap_get_stats(po_heap *heap, struct po_heap_stats *stats)
{
    po_check_heap(heap, "po_heap_get_stats");
    take_survey(&(struct survey){heap, stats, NULL});
}

/* ---- Rows ---- */

struct row {
    const char *label, *key;
    size_t offset;
};

#define ROW(label, field) {label, #field, offsetof(struct po_heap_stats, field)}

static const struct row rows[] = {
    ROW("objects alive", objects),
    ROW("bytes of objects", bytes),
    ROW("tracked objects", tracked),
    ROW("frozen objects", frozen),
    ROW("immortal objects", immortal),
    ROW("shared objects", shared),
    ROW("weak references", weak_references),
    ROW("interned strings", interned),
    ROW("bytes held", held_bytes),
    ROW("bytes of the collector", collector_bytes),
    ROW("objects in generation 0", young),
    ROW("objects in generation 1", middle),
};

#define ROWS (sizeof rows / sizeof rows[0])

static uint64_t
value_of(const struct po_heap_stats *stats, const struct row *row)
{
    return *(const size_t *)((const char *)stats + row->offset);
}

/* ---- Text ---- */

static void
write_text(const struct survey *survey, struct pm_text *text)
{
    const po_heap *heap = survey->heap;
    pm_text_string(text, "poolobject: a heap\n");
    for (size_t i = 0; i < ROWS; i++) {
        pm_text_string(text, "  ");
        pm_text_label(text, rows[i].label, 24);
        pm_text_column(text, value_of(survey->stats, &rows[i]), 14);
        pm_text_string(text, "\n");
    }
    pm_text_string(text, "  generation  collections     collected  uncollectable    pauses us   longest us\n");
    for (unsigned i = 0; i < 3; i++) {
        const struct po_gc_stats *stats = &heap->stats[i];
        pm_text_column(text, i, 12);
        pm_text_column(text, stats->collections, 13);
        pm_text_column(text, stats->collected, 14);
        pm_text_column(text, stats->uncollectable, 15);
        pm_text_column(text, stats->pause_ns_total / 1000, 13);
        pm_text_column(text, stats->pause_ns_max / 1000, 13);
        pm_text_string(text, "\n");
    }
    if (survey->types == NULL)
        return;
    pm_text_string(text, "  type                           objects         bytes  found in cycles\n");
    for (const po_type *type = heap->types; type != NULL; type = type->next) {
        pm_text_string(text, "  ");
        pm_text_label(text, type->name, 24);
        pm_text_column(text, survey->types[type->place].objects, 14);
        pm_text_column(text, survey->types[type->place].bytes, 14);
        pm_text_column(text, type->collected, 17);
        pm_text_string(text, "\n");
    }
}

/* ---- JSON ---- */

static void
write_string(struct pm_text *text, const char *string)
{
    static const char digits[] = "0123456789abcdef";
    pm_text_string(text, "\"");
    for (; *string != '\0'; string++) {
        unsigned char c = (unsigned char)*string;
        if (c == '"' || c == '\\') {
            pm_text_bytes(text, "\\", 1);
            pm_text_bytes(text, string, 1);
        } else if (c < ' ') {
            pm_text_string(text, "\\u00");
            pm_text_bytes(text, &digits[c >> 4], 1);
            pm_text_bytes(text, &digits[c & 15], 1);
        } else {
            pm_text_bytes(text, string, 1);
        }
    }
    pm_text_string(text, "\"");
}

static void
write_member(struct pm_text *text, const char *before, const char *key, uint64_t value)
{
    pm_text_string(text, before);
    write_string(text, key);
    pm_text_string(text, ": ");
    pm_text_number(text, value);
}

static void
write_json(const struct survey *survey, struct pm_text *text)
{
    const po_heap *heap = survey->heap;
    const char *comma = "{";
    for (size_t i = 0; i < ROWS; i++, comma = ", ")
        write_member(text, comma, rows[i].key, value_of(survey->stats, &rows[i]));
    pm_text_string(text, ", \"generations\": [");
    for (unsigned i = 0; i < 3; i++) {
        const struct po_gc_stats *stats = &heap->stats[i];
        write_member(text, i == 0 ? "{" : ", {", "collections", stats->collections);
        write_member(text, ", ", "collected", stats->collected);
        write_member(text, ", ", "uncollectable", stats->uncollectable);
        write_member(text, ", ", "pause_ns_total", stats->pause_ns_total);
        write_member(text, ", ", "pause_ns_max", stats->pause_ns_max);
        pm_text_string(text, "}");
    }
    pm_text_string(text, "], \"types\": [");
    comma = "";
    for (const po_type *type = survey->types != NULL ? heap->types : NULL; type != NULL; type = type->next) {
        pm_text_string(text, comma);
        pm_text_string(text, "{\"name\": ");
        write_string(text, type->name);
        write_member(text, ", ", "objects", survey->types[type->place].objects);
        write_member(text, ", ", "bytes", survey->types[type->place].bytes);
        write_member(text, ", ", "found_in_cycles", type->collected);
        pm_text_string(text, "}");
        comma = ", ";
    }
    pm_text_string(text, "]}\n");
}

void
po_heap_print_stats(po_heap *heap, int fd, bool json)
{
    struct po_heap_stats stats;
    struct survey survey = {heap, &stats, NULL};
    struct pm_text text;
    uint32_t count = 0;
    po_check_heap(heap, "po_heap_print_stats");
    for (po_type *type = heap->types; type != NULL; type = type->next)
        type->place = count++;
    survey.types = po_map((count + 1) * sizeof *survey.types);
    take_survey(&survey);
    pm_text_start(&text, fd);
    if (json)
        write_json(&survey, &text);
    else
        write_text(&survey, &text);
    pm_text_flush(&text);
    po_unmap(survey.types, (count + 1) * sizeof *survey.types);
}
