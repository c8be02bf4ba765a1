/* SPDX-License-Identifier: MIT
 *
 * Objects and symbols in the memory of a target: program headers, notes, dynamic section, hash table, and the dynamic
 * linker's list of objects. What is read may be anything: every length is bounded, and a table that makes no sense is
 * one without the symbol.
 */
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "note.h"
#include "notes.h"
#include "target.h"

#define SEGMENTS_MAX 64
#define DYNAMIC_MAX 256
#define CHAIN_MAX 4096
#define OBJECTS_MAX 4096

struct object {
    const struct pm_target *target;
    uint64_t bias; /* address minus the address that the file says */
    Elf64_Phdr segments[SEGMENTS_MAX];
    size_t segment_count;
    uint64_t dynamic[DYNAMIC_MAX][2];
    size_t dynamic_count;
};

static bool
read_dynamic(struct object *object)
{
    const Elf64_Phdr *dynamic = NULL;
    for (size_t i = 0; i < object->segment_count; i++)
        if (object->segments[i].p_type == PT_DYNAMIC)
            dynamic = &object->segments[i];
    object->dynamic_count = 0;
    if (dynamic == NULL)
        return false;
    size_t entries = dynamic->p_memsz / sizeof object->dynamic[0];
    if (entries > DYNAMIC_MAX)
        entries = DYNAMIC_MAX;
    if (!pm_target_read(object->target, object->bias + dynamic->p_vaddr, object->dynamic,
                        entries * sizeof object->dynamic[0]))
        return false;
    while (object->dynamic_count < entries && object->dynamic[object->dynamic_count][0] != DT_NULL)
        object->dynamic_count++;
    return true;
}

/* The object whose ELF header lies at `start`. Not every one has a dynamic section. */
static bool
read_object(struct object *object, const struct pm_target *target, uint64_t start)
{
    Elf64_Ehdr header;
    object->target = target;
    if (!pm_target_read(target, start, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof object->segments[0] ||
        header.e_phnum == 0 || header.e_phnum > SEGMENTS_MAX ||
        !pm_target_read(target, start + header.e_phoff, object->segments,
                        header.e_phnum * sizeof object->segments[0]))
        return false;
    object->segment_count = header.e_phnum;
    for (size_t i = 0; i < object->segment_count; i++)
        if (object->segments[i].p_type == PT_LOAD && object->segments[i].p_offset == 0) {
            object->bias = start - object->segments[i].p_vaddr;
            read_dynamic(object);
            return true;
        }
    return false;
}

/* What the notes of poolmalloc in an object say (note.h). */
static void
read_notes(const struct object *object, struct pm_root_place *place)
{
    for (size_t i = 0; i < object->segment_count; i++) {
        const Elf64_Phdr *segment = &object->segments[i];
        unsigned char bytes[PM_NOTES_MAX];
        struct pm_notes notes;
        struct pm_note note;
        uint64_t distance, size = segment->p_filesz < sizeof bytes ? segment->p_filesz : sizeof bytes;
        if (segment->p_type != PT_NOTE ||
            !pm_target_read(object->target, object->bias + segment->p_vaddr, bytes, size))
            continue;
        pm_notes_start(&notes, bytes, size, segment->p_align);
        while (pm_notes_next(&notes, &note))
            if (pm_note_is(&note, PM_NOTE_OWNER, PM_NOTE_ROOT) && note.description_size == sizeof distance) {
                memcpy(&distance, note.description, sizeof distance);
                place->address = object->bias + segment->p_vaddr + note.description_offset + distance;
            } else if (pm_note_is(&note, PM_NOTE_OWNER, PM_NOTE_MALLOC)) {
                place->serves_malloc = true;
            }
    }
}

/* An address in the dynamic section: some dynamic linkers relocate them in place, others do not. */
static uint64_t
dynamic_address(const struct object *object, uint64_t tag)
{
    for (size_t i = 0; i < object->dynamic_count; i++)
        if (object->dynamic[i][0] == tag)
            return object->dynamic[i][1] + (object->dynamic[i][1] < object->bias ? object->bias : 0);
    return 0;
}

/* The value of symbol number `index` if that is its name and it is defined. */
static uint64_t
match_symbol(const struct object *object, uint64_t index, const char *name)
{
    Elf64_Sym symbol;
    char found[128];
    if (!pm_target_read(object->target, dynamic_address(object, DT_SYMTAB) + index * sizeof symbol, &symbol,
                        sizeof symbol) ||
        symbol.st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL ||
        !pm_target_read_string(object->target, dynamic_address(object, DT_STRTAB) + symbol.st_name, found,
                               sizeof found) ||
        strcmp(found, name) != 0)
        return 0;
    return object->bias + symbol.st_value;
}

static uint64_t
find_in_gnu_hash(const struct object *object, uint64_t table, const char *name)
{
    uint32_t header[4], hash = 5381, bucket, entry; /* buckets, first symbol, words of the filter, its shift */
    for (const char *character = name; *character != '\0'; character++)
        hash = hash * 33 + (unsigned char)*character;
    if (!pm_target_read(object->target, table, header, sizeof header) || header[0] == 0)
        return 0;
    uint64_t buckets = table + sizeof header + header[2] * UINT64_C(8);
    uint64_t chains = buckets + header[0] * UINT64_C(4);
    if (!pm_target_read(object->target, buckets + hash % header[0] * UINT64_C(4), &bucket, sizeof bucket) ||
        bucket < header[1])
        return 0;
    for (uint32_t index = bucket; index - bucket < CHAIN_MAX; index++) {
        if (!pm_target_read(object->target, chains + (index - header[1]) * UINT64_C(4), &entry, sizeof entry))
            return 0;
        uint64_t address = (entry | 1) == (hash | 1) ? match_symbol(object, index, name) : 0;
        if (address != 0 || (entry & 1) != 0)
            return address;
    }
    return 0;
}

static uint64_t
find_in_hash(const struct object *object, uint64_t table, const char *name)
{
    uint32_t header[2], hash = 0, index; /* buckets, symbols */
    for (const char *character = name; *character != '\0'; character++) {
        hash = (hash << 4) + (unsigned char)*character;
        hash = (hash ^ ((hash & 0xf0000000) >> 24)) & 0x0fffffff;
    }
    if (!pm_target_read(object->target, table, header, sizeof header) || header[0] == 0 ||
        !pm_target_read(object->target, table + 8 + hash % header[0] * UINT64_C(4), &index, sizeof index))
        return 0;
    for (unsigned steps = 0; index != 0 && index < header[1] && steps < CHAIN_MAX; steps++) {
        uint64_t address = match_symbol(object, index, name);
        if (address != 0)
            return address;
        if (!pm_target_read(object->target, table + 8 + (header[0] + (uint64_t)index) * 4, &index, sizeof index))
            return 0;
    }
    return 0;
}

static uint64_t
find_symbol(const struct object *object, const char *name)
{
    uint64_t table = dynamic_address(object, DT_GNU_HASH);
    if (table != 0)
        return find_in_gnu_hash(object, table, name);
    table = dynamic_address(object, DT_HASH);
    return table != 0 ? find_in_hash(object, table, name) : 0;
}

uint64_t
pm_target_symbol(const struct pm_target *target, uint64_t start, const char *symbol)
{
    struct object object;
    return read_object(&object, target, start) ? find_symbol(&object, symbol) : 0;
}

bool
pm_target_bias(const struct pm_target *target, uint64_t start, uint64_t *bias)
{
    struct object object;
    if (!read_object(&object, target, start))
        return false;
    *bias = object.bias;
    return true;
}

/* The mapping that begins with the program's ELF header: the one below its program headers. */
static const struct pm_mapping *
program_mapping(const struct pm_target *target)
{
    uint64_t headers = pm_target_auxiliary(target, AT_PHDR);
    return headers != 0 ? pm_target_mapping(target, headers) : NULL;
}

bool
pm_target_each_root(const struct pm_target *target,
                    bool (*visit)(const struct pm_target *, const struct pm_root_place *, void *), void *data)
{
    for (size_t i = 0; i < target->mapping_count; i++) {
        const struct pm_mapping *mapping = &target->mappings[i];
        struct pm_root_place place = {.mapping = mapping};
        struct object object;
        if (mapping->offset != 0 || !mapping->readable || mapping->path[0] == '\0' || mapping->path[0] == '[' ||
            !read_object(&object, target, mapping->start))
            continue;
        read_notes(&object, &place);
        if (place.address == 0) { /* from before there were notes */
            place.address = find_symbol(&object, "pm_root");
            place.serves_malloc = find_symbol(&object, "malloc") != 0;
        }
        if (place.address != 0 && visit(target, &place, data))
            return true;
    }
    return false;
}

bool
pm_target_has_symbol(const struct pm_target *target, const char *symbol)
{
    for (size_t i = 0; i < target->mapping_count; i++) {
        const struct pm_mapping *mapping = &target->mappings[i];
        if (mapping->offset == 0 && mapping->readable && mapping->path[0] != '\0' && mapping->path[0] != '[' &&
            pm_target_symbol(target, mapping->start, symbol) != 0)
            return true;
    }
    return false;
}

bool
pm_target_each_object(const struct pm_target *target,
                      void (*visit)(const struct pm_target *, uint64_t, const char *, void *), void *data)
{
    const struct pm_mapping *program = program_mapping(target);
    struct object object;
    struct r_debug debug;
    if (program == NULL || !read_object(&object, target, program->start))
        return false;
    uint64_t list = 0;
    for (size_t i = 0; i < object.dynamic_count; i++)
        if (object.dynamic[i][0] == DT_DEBUG)
            list = object.dynamic[i][1];
    if (list == 0 || !pm_target_read(target, list, &debug, sizeof debug))
        return false;
    struct link_map entry;
    uint64_t next = (uint64_t)debug.r_map;
    for (unsigned count = 0; next != 0 && count < OBJECTS_MAX; count++, next = (uint64_t)entry.l_next) {
        char name[PATH_MAX];
        if (!pm_target_read(target, next, &entry, sizeof entry) ||
            !pm_target_read_string(target, (uint64_t)entry.l_name, name, sizeof name))
            return count > 0;
        const struct pm_mapping *mapping = pm_target_mapping(target, (uint64_t)entry.l_ld);
        uint64_t start = count == 0 ? program->start : entry.l_addr;
        if (mapping != NULL && start != 0)
            visit(target, start, name, data);
    }
    return true;
}
