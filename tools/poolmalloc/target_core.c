/* SPDX-License-Identifier: MIT
 *
 * A core file: its segments and notes, read with libelf. What the kernel left out of it, pages of files that were not
 * changed, is read from the files that the core names, if they are still the same: the build ids must agree.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "elf_file.h"
#include "notes.h"
#include "printable.h"
#include "target.h"

#define BUILD_ID_MAX 64

struct pm_core {
    int fd;
    GElf_Phdr *segments;
    size_t segment_count;
    uint64_t *auxiliary; /* pairs */
    size_t auxiliary_count;
    int *files; /* for each mapping of the target: its file, -1 when it is not there, -2 when not tried yet */
};

static void
add_mapping(struct pm_target *target, uint64_t start, uint64_t end, uint64_t offset, const char *path)
{
    target->mappings =
        pm_command_reallocate(target->mappings, (target->mapping_count + 1) * sizeof *target->mappings);
    target->mappings[target->mapping_count++] = (struct pm_mapping){
        .start = start, .end = end, .offset = offset, .readable = true, .path = pm_command_format("%s", path)};
}

/* Does the sum not wrap around? */
static bool
is_range(uint64_t start, uint64_t size)
{
    return size <= UINT64_MAX - start;
}

/* NT_FILE: how many, the page size, then start, end and page offset of each, then their names. */
static void
read_files(struct pm_target *target, const char *note, size_t size)
{
    uint64_t word[3];
    if (size < 2 * sizeof word[0])
        return;
    memcpy(word, note, 2 * sizeof word[0]);
    uint64_t count = word[0], page = word[1];
    if (count > (size - 16) / sizeof word)
        return;
    const char *name = note + 16 + count * sizeof word, *end = note + size;
    for (uint64_t i = 0; i < count && name < end && memchr(name, '\0', (size_t)(end - name)) != NULL; i++) {
        memcpy(word, note + 16 + i * sizeof word, sizeof word);
        if (word[0] < word[1] && (page == 0 || word[2] <= UINT64_MAX / page))
            add_mapping(target, word[0], word[1], word[2] * page, name);
        name += strlen(name) + 1;
    }
}

static void
read_note(struct pm_target *target, GElf_Word type, const char *note, size_t size)
{
    if (type == NT_FILE) {
        read_files(target, note, size);
    } else if (type == NT_AUXV && target->core->auxiliary == NULL) {
        target->core->auxiliary = pm_command_allocate(size);
        memcpy(target->core->auxiliary, note, size);
        target->core->auxiliary_count = size / 16;
    } else if (type == NT_PRPSINFO && target->name == NULL && size >= sizeof(struct elf_prpsinfo)) {
        struct elf_prpsinfo info;
        memcpy(&info, note, sizeof info);
        target->pid = info.pr_pid;
        char *name = pm_command_format("%.*s", (int)sizeof info.pr_fname, info.pr_fname);
        pm_printable_make(name);
        target->name = name;
    }
}

/* A segment of notes can be as large as a core of many threads makes it. */
static void
read_notes(struct pm_target *target, const GElf_Phdr *segment)
{
    unsigned char *bytes = pm_command_allocate(segment->p_filesz);
    struct pm_notes notes;
    struct pm_note note;
    ssize_t got = pread(target->core->fd, bytes, segment->p_filesz, (off_t)segment->p_offset);
    pm_notes_start(&notes, bytes, got > 0 ? (size_t)got : 0, segment->p_align);
    while (pm_notes_next(&notes, &note))
        read_note(target, note.type, (const char *)note.description, note.description_size);
    free(bytes);
}

static void
read_segments(struct pm_target *target, Elf *elf, const char *path, uint64_t file_size)
{
    struct pm_core *core = target->core;
    size_t count = 0;
    uint64_t needed = 0;
    if (elf_getphdrnum(elf, &count) != 0 || count == 0)
        pm_command_fail(PM_STATUS_BAD_CORE, "%s is truncated: its table of segments is missing", path);
    core->segments = pm_command_allocate(count * sizeof *core->segments);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, (int)i, &segment) == NULL)
            pm_command_fail(PM_STATUS_BAD_CORE, "%s is damaged: its table of segments cannot be read", path);
        if (!is_range(segment.p_offset, segment.p_filesz) ||
            (segment.p_type == PT_LOAD && !is_range(segment.p_vaddr, segment.p_memsz)) ||
            (segment.p_type == PT_LOAD && segment.p_filesz > segment.p_memsz))
            pm_command_fail(PM_STATUS_BAD_CORE, "%s is damaged: a segment does not fit into the address space", path);
        if (segment.p_filesz > 0 && segment.p_offset + segment.p_filesz > needed)
            needed = segment.p_offset + segment.p_filesz;
        core->segments[core->segment_count++] = segment;
    }
    if (needed > file_size)
        pm_command_fail(PM_STATUS_BAD_CORE, "%s is truncated: it has %lu of %lu bytes", path, file_size, needed);
    for (size_t i = 0; i < count; i++)
        if (core->segments[i].p_type == PT_NOTE)
            read_notes(target, &core->segments[i]);
}

static bool
is_in_file(const struct pm_target *target, size_t files, uint64_t address)
{
    for (size_t i = 0; i < files; i++)
        if (address >= target->mappings[i].start && address < target->mappings[i].end)
            return true;
    return false;
}

/* Writable memory that the heap lies in has no name: a mapping of its own, so that addresses can be looked up. */
static void
add_segments(struct pm_target *target)
{
    size_t files = target->mapping_count;
    for (size_t i = 0; i < target->core->segment_count; i++) {
        const GElf_Phdr *segment = &target->core->segments[i];
        if (segment->p_type == PT_LOAD && !is_in_file(target, files, segment->p_vaddr))
            add_mapping(target, segment->p_vaddr, segment->p_vaddr + segment->p_memsz, 0, "");
    }
}

void
pm_target_open_core(struct pm_target *target, const char *path)
{
    memset(target, 0, sizeof *target);
    struct stat status;
    struct pm_core *core = target->core = pm_command_allocate(sizeof *core);
    memset(core, 0, sizeof *core);
    core->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (core->fd < 0)
        pm_command_fail(errno == EACCES ? PM_STATUS_NO_PERMISSION : PM_STATUS_BAD_CORE, "%s: %s", path,
                        strerror(errno));
    if (fstat(core->fd, &status) != 0 || !S_ISREG(status.st_mode))
        pm_command_fail(PM_STATUS_BAD_CORE, "%s is not a file", path);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(core->fd, ELF_C_READ_MMAP, NULL);
    GElf_Ehdr header;
    if (elf == NULL || elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == NULL)
        pm_command_fail(PM_STATUS_BAD_CORE, "%s is not a core file%s", path,
                        status.st_size == 0 ? ": it is empty" : "");
    if (header.e_type != ET_CORE || header.e_ident[EI_CLASS] != ELFCLASS64)
        pm_command_fail(PM_STATUS_BAD_CORE, "%s is not a core file of a 64-bit program", path);
    read_segments(target, elf, path, (uint64_t)status.st_size);
    elf_end(elf);
    add_segments(target);
    core->files = pm_command_allocate(target->mapping_count * sizeof *core->files);
    for (size_t i = 0; i < target->mapping_count; i++)
        core->files[i] = -2;
    if (target->name == NULL)
        target->name = pm_command_format("?");
    const struct pm_mapping *program = pm_target_mapping(target, pm_core_auxiliary(core, AT_PHDR));
    target->executable = program != NULL && program->path[0] == '/' ? pm_command_format("%s", program->path) : NULL;
}

void
pm_core_close(struct pm_core *core)
{
    close(core->fd);
    free(core->segments);
    free(core->auxiliary);
    free(core->files); /* the descriptors end with the command */
    free(core);
}

uint64_t
pm_core_auxiliary(const struct pm_core *core, uint64_t type)
{
    for (size_t i = 0; i < core->auxiliary_count; i++)
        if (core->auxiliary[2 * i] == type)
            return core->auxiliary[2 * i + 1];
    return 0;
}

/* The build id in the notes of an ELF image's first page. Its length, 0 when there is none. */
static size_t
build_id(const unsigned char *page, size_t size, unsigned char *id)
{
    Elf64_Ehdr header;
    if (size < sizeof header)
        return 0;
    memcpy(&header, page, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phoff > size)
        return 0;
    size_t most = (size - header.e_phoff) / sizeof(Elf64_Phdr);
    for (size_t i = 0; i < header.e_phnum && i < most; i++) {
        Elf64_Phdr segment;
        struct pm_notes notes;
        struct pm_note note;
        memcpy(&segment, page + header.e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_NOTE || segment.p_offset > size || segment.p_filesz > size - segment.p_offset)
            continue;
        pm_notes_start(&notes, page + segment.p_offset, segment.p_filesz, segment.p_align);
        while (pm_notes_next(&notes, &note))
            if (pm_note_is(&note, ELF_NOTE_GNU, NT_GNU_BUILD_ID) && note.description_size <= BUILD_ID_MAX) {
                memcpy(id, note.description, note.description_size);
                return note.description_size;
            }
    }
    return 0;
}

static size_t
read_segment(const struct pm_core *core, uint64_t address, void *buffer, size_t size)
{
    for (size_t i = 0; i < core->segment_count; i++) {
        const GElf_Phdr *segment = &core->segments[i];
        if (segment->p_type != PT_LOAD || address < segment->p_vaddr || address - segment->p_vaddr >= segment->p_filesz)
            continue;
        uint64_t left = segment->p_filesz - (address - segment->p_vaddr);
        if (size > left)
            size = left;
        ssize_t got = pread(core->fd, buffer, size, (off_t)(segment->p_offset + (address - segment->p_vaddr)));
        return got > 0 ? (size_t)got : 0;
    }
    return 0;
}

/* Opens the file of a mapping, if what the core kept of its first page does not speak against it. */
static int
open_file(const struct pm_core *core, const struct pm_target *target, const struct pm_mapping *mapping)
{
    uint64_t start = mapping->start;
    for (size_t i = 0; i < target->mapping_count; i++)
        if (target->mappings[i].offset == 0 && strcmp(target->mappings[i].path, mapping->path) == 0)
            start = target->mappings[i].start;
    unsigned char then[4096], now[4096], then_id[BUILD_ID_MAX], now_id[BUILD_ID_MAX];
    /* The core may name anything: what is no file is left alone, and a pipe does not keep the command waiting. */
    struct stat status;
    int file = open(mapping->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return -1;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(file);
        return -1;
    }
    ssize_t got = pread(file, now, sizeof now, 0);
    size_t kept = read_segment(core, start, then, sizeof then);
    size_t then_length = build_id(then, kept, then_id), now_length = build_id(now, got > 0 ? (size_t)got : 0, now_id);
    if (kept > 0 && (then_length != now_length || memcmp(then_id, now_id, then_length) != 0)) {
        pm_command_warn("%s is not the file that the core was made with", pm_printable(mapping->path));
        close(file);
        return -1;
    }
    return file;
}

static size_t
read_file(const struct pm_core *core, const struct pm_target *target, uint64_t address, void *buffer, size_t size)
{
    const struct pm_mapping *mapping = pm_target_mapping(target, address);
    if (mapping == NULL || mapping->path[0] != '/')
        return 0;
    int *file = &core->files[mapping - target->mappings];
    if (*file == -2)
        *file = open_file(core, target, mapping);
    if (size > mapping->end - address)
        size = mapping->end - address;
    uint64_t distance = address - mapping->start;
    if (!is_range(mapping->offset, distance) || mapping->offset + distance > INT64_MAX)
        return 0;
    ssize_t got = *file >= 0 ? pread(*file, buffer, size, (off_t)(mapping->offset + distance)) : -1;
    return got > 0 ? (size_t)got : 0;
}

bool
pm_core_read(const struct pm_core *core, const struct pm_target *target, uint64_t address, void *buffer, size_t size)
{
    while (size > 0) {
        size_t got = read_segment(core, address, buffer, size);
        if (got == 0)
            got = read_file(core, target, address, buffer, size);
        if (got == 0)
            return false;
        address += got;
        buffer = (char *)buffer + got;
        size -= got;
    }
    return true;
}
