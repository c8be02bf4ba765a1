/* SPDX-License-Identifier: MIT */
#include "elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "note.h"
#include "notes.h"

bool
pm_elf_open(struct pm_elf *elf, const char *path)
{
    memset(elf, 0, sizeof *elf);
    elf_version(EV_CURRENT);
    elf->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (elf->fd < 0)
        return false;
    elf->elf = elf_begin(elf->fd, ELF_C_READ_MMAP, NULL);
    if (elf->elf == NULL || elf_kind(elf->elf) != ELF_K_ELF || gelf_getehdr(elf->elf, &elf->header) == NULL) {
        pm_elf_close(elf);
        errno = 0;
        return false;
    }
    size_t count = 0;
    elf_getphdrnum(elf->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf->elf, (int)i, &segment) == NULL)
            continue;
        elf->dynamic |= segment.p_type == PT_DYNAMIC;
        if (segment.p_type == PT_INTERP && segment.p_filesz > 0 && segment.p_filesz < sizeof elf->interpreter &&
            pread(elf->fd, elf->interpreter, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz)
            elf->interpreter[0] = '\0';
    }
    return true;
}

void
pm_elf_close(struct pm_elf *elf)
{
    if (elf->elf != NULL)
        elf_end(elf->elf);
    close(elf->fd);
}

bool
pm_elf_is_native(const struct pm_elf *elf)
{
#if defined(__x86_64__)
    GElf_Half machine = EM_X86_64;
#elif defined(__aarch64__)
    GElf_Half machine = EM_AARCH64;
#else
    GElf_Half machine = elf->header.e_machine;
#endif
    return elf->header.e_ident[EI_CLASS] == ELFCLASS64 && elf->header.e_machine == machine;
}

bool
pm_elf_is_static_program(const struct pm_elf *elf)
{
    return elf->interpreter[0] == '\0';
}

bool
pm_elf_has_note(struct pm_elf *elf, uint32_t type)
{
    size_t count = 0;
    elf_getphdrnum(elf->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        unsigned char bytes[PM_NOTES_MAX];
        struct pm_notes notes;
        struct pm_note note;
        if (gelf_getphdr(elf->elf, (int)i, &segment) == NULL || segment.p_type != PT_NOTE)
            continue;
        size_t size = segment.p_filesz < sizeof bytes ? segment.p_filesz : sizeof bytes;
        ssize_t got = pread(elf->fd, bytes, size, (off_t)segment.p_offset);
        pm_notes_start(&notes, bytes, got > 0 ? (size_t)got : 0, segment.p_align);
        while (pm_notes_next(&notes, &note))
            if (pm_note_is(&note, PM_NOTE_OWNER, type))
                return true;
    }
    return false;
}

bool
pm_elf_is_poolmalloc(struct pm_elf *elf)
{
    /* Libraries from before there were notes have the symbols. */
    return pm_elf_has_note(elf, PM_NOTE_MALLOC) ||
           (!pm_elf_has_note(elf, PM_NOTE_ROOT) && pm_elf_exports(elf, "pm_malloc") && pm_elf_exports(elf, "malloc"));
}

typedef bool visit_symbol(const char *name, const GElf_Sym *symbol, void *data);

/* Calls `visit` for each symbol of the symbol table of that type, until it says true. */
static bool
visit_symbols(struct pm_elf *elf, GElf_Word type, visit_symbol *visit, void *data)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf->elf, section)) != NULL) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == NULL || header.sh_type != type || header.sh_entsize == 0)
            continue;
        Elf_Data *symbols = elf_getdata(section, NULL);
        for (size_t i = 0; symbols != NULL && i < symbols->d_size / header.sh_entsize; i++) {
            GElf_Sym symbol;
            const char *name;
            if (gelf_getsym(symbols, (int)i, &symbol) != NULL &&
                (name = elf_strptr(elf->elf, header.sh_link, symbol.st_name)) != NULL && visit(name, &symbol, data))
                return true;
        }
    }
    return false;
}

static bool
is_exported(const char *name, const GElf_Sym *symbol, void *data)
{
    return symbol->st_shndx != SHN_UNDEF && GELF_ST_BIND(symbol->st_info) != STB_LOCAL &&
           GELF_ST_VISIBILITY(symbol->st_other) != STV_HIDDEN &&
           GELF_ST_VISIBILITY(symbol->st_other) != STV_INTERNAL && strcmp(name, data) == 0;
}

static bool
is_imported(const char *name, const GElf_Sym *symbol, void *data)
{
    return symbol->st_shndx == SHN_UNDEF && strcmp(name, data) == 0;
}

bool
pm_elf_exports(struct pm_elf *elf, const char *symbol)
{
    return visit_symbols(elf, SHT_DYNSYM, is_exported, (char *)symbol);
}

bool
pm_elf_imports(struct pm_elf *elf, const char *symbol)
{
    return visit_symbols(elf, SHT_DYNSYM, is_imported, (char *)symbol);
}

/* Those that replace malloc. A program calls the function of its runtime, which a shared library defines or the program
 * itself; either way the name is in the dynamic symbol table. */
static bool
is_of_sanitizer(const char *name, const GElf_Sym *symbol, void *data)
{
    static const char *const known[][2] = {
        {"__asan_init", "AddressSanitizer"}, {"__tsan_init", "ThreadSanitizer"},
        {"__msan_init", "MemorySanitizer"},  {"__lsan_init", "LeakSanitizer"},
        {"__hwasan_init", "HWAddressSanitizer"},
    };
    (void)symbol;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i][0]) == 0) {
            *(const char **)data = known[i][1];
            return true;
        }
    return false;
}

const char *
pm_elf_sanitizer(struct pm_elf *elf)
{
    const char *sanitizer = NULL;
    visit_symbols(elf, SHT_DYNSYM, is_of_sanitizer, &sanitizer);
    return sanitizer;
}

/* The entries of the dynamic section, one after the other; `*index` is 0 at first. */
static bool
next_dynamic(struct pm_elf *elf, size_t *index, GElf_Dyn *entry, GElf_Shdr *header)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf->elf, section)) != NULL)
        if (gelf_getshdr(section, header) != NULL && header->sh_type == SHT_DYNAMIC) {
            Elf_Data *entries = elf_getdata(section, NULL);
            return entries != NULL && gelf_getdyn(entries, (int)(*index)++, entry) != NULL;
        }
    return false;
}

bool
pm_elf_is_symbolic(struct pm_elf *elf)
{
    GElf_Dyn entry;
    GElf_Shdr header;
    for (size_t index = 0; next_dynamic(elf, &index, &entry, &header);)
        if (entry.d_tag == DT_SYMBOLIC || (entry.d_tag == DT_FLAGS && (entry.d_un.d_val & DF_SYMBOLIC) != 0))
            return true;
    return false;
}

void
pm_elf_libc(struct pm_elf *elf, char *name, size_t size)
{
    GElf_Dyn entry;
    GElf_Shdr header;
    const char *needed;
    name[0] = '\0';
    for (size_t index = 0; next_dynamic(elf, &index, &entry, &header);)
        if (entry.d_tag == DT_NEEDED && (needed = elf_strptr(elf->elf, header.sh_link, entry.d_un.d_val)) != NULL &&
            (strncmp(needed, "libc.so", 7) == 0 || strncmp(needed, "libc.musl", 9) == 0))
            snprintf(name, size, "%s", needed);
}

/* Relocations of a kind that holds nothing but the address of a symbol. */
static bool
is_address_of_symbol(GElf_Half machine, GElf_Word type)
{
    return machine == EM_X86_64    ? type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT
           : machine == EM_AARCH64 ? type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT
                                   : false;
}

void
pm_elf_each_import(struct pm_elf *elf, void (*visit)(const char *, uint64_t, void *), void *data)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf->elf, section)) != NULL) {
        GElf_Shdr header, table;
        GElf_Rela entry;
        GElf_Sym symbol;
        Elf_Scn *symbols = NULL;
        if (gelf_getshdr(section, &header) != NULL && header.sh_type == SHT_RELA)
            symbols = elf_getscn(elf->elf, header.sh_link);
        if (symbols == NULL || gelf_getshdr(symbols, &table) == NULL || table.sh_type != SHT_DYNSYM)
            continue;
        Elf_Data *entries = elf_getdata(section, NULL), *names = elf_getdata(symbols, NULL);
        for (int i = 0; entries != NULL && names != NULL && gelf_getrela(entries, i, &entry) != NULL; i++) {
            const char *name;
            if (is_address_of_symbol(elf->header.e_machine, (GElf_Word)GELF_R_TYPE(entry.r_info)) &&
                gelf_getsym(names, (int)GELF_R_SYM(entry.r_info), &symbol) != NULL &&
                (name = elf_strptr(elf->elf, table.sh_link, symbol.st_name)) != NULL)
                visit(name, entry.r_offset, data);
        }
    }
}

static bool
is_of_known_allocator(const char *name, const GElf_Sym *symbol, void *data)
{
    static const struct {
        const char *function, *allocator;
    } known[] = {
        {"mallctl", "jemalloc"},             {"je_mallctl", "jemalloc"},
        {"_rjem_mallctl", "jemalloc (Rust)"}, {"mi_malloc", "mimalloc"},        {"_mi_heap_default", "mimalloc"},
        {"tc_malloc", "tcmalloc"},           {"TCMallocInternalMalloc", "tcmalloc"}, {"rpmalloc", "rpmalloc"},
        {"sn_malloc", "snmalloc"},           {"scalable_malloc", "TBB malloc"}, {"scudo_malloc_info", "scudo"},
        {"__asan_init", "AddressSanitizer"}, {"__tsan_init", "ThreadSanitizer"}, {"__msan_init", "MemorySanitizer"},
        {"hmalloc", "Hoard"},                {"h_malloc", "hardened_malloc"},  {"runtime.mallocgc", "the Go runtime"},
    };
    if (symbol->st_shndx == SHN_UNDEF)
        return false;
    if (GELF_ST_TYPE(symbol->st_info) != STT_FUNC && GELF_ST_TYPE(symbol->st_info) != STT_OBJECT &&
        GELF_ST_TYPE(symbol->st_info) != STT_TLS)
        return false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].function) == 0) {
            *(const char **)data = known[i].allocator;
            return true;
        }
    return false;
}

const char *
pm_elf_known_allocator(struct pm_elf *elf)
{
    const char *allocator = NULL;
    if (pm_elf_is_poolmalloc(elf))
        return "poolmalloc";
    if (!visit_symbols(elf, SHT_DYNSYM, is_of_known_allocator, &allocator))
        visit_symbols(elf, SHT_SYMTAB, is_of_known_allocator, &allocator);
    return allocator;
}
