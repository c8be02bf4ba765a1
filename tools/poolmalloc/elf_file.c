/* SPDX-License-Identifier: MIT */
#include "elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Calls `visit` for each defined function or object of the symbol table of that type, until it says true. */
static bool
visit_symbols(struct pm_elf *elf, GElf_Word type, bool (*visit)(const char *, const GElf_Sym *, void *), void *data)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf->elf, section)) != NULL) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == NULL || header.sh_type != type || header.sh_entsize == 0)
            continue;
        Elf_Data *symbols = elf_getdata(section, NULL);
        for (size_t i = 0; symbols != NULL && i < header.sh_size / header.sh_entsize; i++) {
            GElf_Sym symbol;
            const char *name;
            if (gelf_getsym(symbols, (int)i, &symbol) == NULL || symbol.st_shndx == SHN_UNDEF ||
                (name = elf_strptr(elf->elf, header.sh_link, symbol.st_name)) == NULL)
                continue;
            if (visit(name, &symbol, data))
                return true;
        }
    }
    return false;
}

struct wanted {
    const char *name;
    bool exported;
    uint64_t *value;
};

static bool
is_wanted(const char *name, const GElf_Sym *symbol, void *data)
{
    const struct wanted *wanted = data;
    if (strcmp(name, wanted->name) != 0)
        return false;
    if (wanted->exported && (GELF_ST_BIND(symbol->st_info) == STB_LOCAL ||
                             GELF_ST_VISIBILITY(symbol->st_other) == STV_HIDDEN ||
                             GELF_ST_VISIBILITY(symbol->st_other) == STV_INTERNAL))
        return false;
    if (wanted->value != NULL)
        *wanted->value = symbol->st_value;
    return true;
}

bool
pm_elf_defines(struct pm_elf *elf, const char *symbol, bool exported, uint64_t *value)
{
    struct wanted wanted = {symbol, exported, value};
    return visit_symbols(elf, exported ? SHT_DYNSYM : SHT_SYMTAB, is_wanted, &wanted);
}

void
pm_elf_libc(struct pm_elf *elf, char *name, size_t size)
{
    name[0] = '\0';
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf->elf, section)) != NULL) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == NULL || header.sh_type != SHT_DYNAMIC || header.sh_entsize == 0)
            continue;
        Elf_Data *entries = elf_getdata(section, NULL);
        for (size_t i = 0; entries != NULL && i < header.sh_size / header.sh_entsize; i++) {
            GElf_Dyn entry;
            const char *needed;
            if (gelf_getdyn(entries, (int)i, &entry) != NULL && entry.d_tag == DT_NEEDED &&
                (needed = elf_strptr(elf->elf, header.sh_link, entry.d_un.d_val)) != NULL &&
                (strncmp(needed, "libc.so", 7) == 0 || strncmp(needed, "libc.musl", 9) == 0))
                snprintf(name, size, "%s", needed);
        }
    }
}

uint64_t
pm_elf_base(struct pm_elf *elf)
{
    size_t count = 0;
    uint64_t base = UINT64_MAX;
    elf_getphdrnum(elf->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf->elf, (int)i, &segment) != NULL && segment.p_type == PT_LOAD && segment.p_vaddr < base)
            base = segment.p_vaddr;
    }
    return base & ~UINT64_C(4095);
}

static bool
is_of_known_allocator(const char *name, const GElf_Sym *symbol, void *data)
{
    static const struct {
        const char *function, *allocator;
    } known[] = {
        {"pm_malloc", "poolmalloc"},         {"mallctl", "jemalloc"},          {"je_mallctl", "jemalloc"},
        {"_rjem_mallctl", "jemalloc (Rust)"}, {"mi_malloc", "mimalloc"},        {"_mi_heap_default", "mimalloc"},
        {"tc_malloc", "tcmalloc"},           {"TCMallocInternalMalloc", "tcmalloc"}, {"rpmalloc", "rpmalloc"},
        {"sn_malloc", "snmalloc"},           {"scalable_malloc", "TBB malloc"}, {"scudo_malloc_info", "scudo"},
        {"__asan_init", "AddressSanitizer"}, {"__tsan_init", "ThreadSanitizer"}, {"__msan_init", "MemorySanitizer"},
        {"hmalloc", "Hoard"},                {"h_malloc", "hardened_malloc"},  {"runtime.mallocgc", "the Go runtime"},
    };
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
    if (!visit_symbols(elf, SHT_DYNSYM, is_of_known_allocator, &allocator))
        visit_symbols(elf, SHT_SYMTAB, is_of_known_allocator, &allocator);
    return allocator;
}
