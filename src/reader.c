/* SPDX-License-Identifier: MIT */
#include "reader.h"

#include <string.h>

#include "os.h"

#define PAGE_PRESENT (UINT64_C(1) << 63)
#define WINDOW 64u /* pages in an answer */

void
pm_reader_proc_path(char path[PM_PROC_PATH_SIZE], long pid, const char *name)
{
    char digits[20];
    size_t count = 0, length = strlen("/proc/");
    memcpy(path, "/proc/", length);
    do {
        digits[count++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid != 0);
    while (count != 0)
        path[length++] = digits[--count];
    path[length++] = '/';
    strcpy(path + length, name);
}

static bool
read_memory(void *context, uintptr_t address, void *buffer, size_t size)
{
    struct pm_process_reader *process = context;
    if (process->memory >= 0)
        return pm_os_read_at(process->memory, buffer, size, address) == size;
    return pm_os_read_process(process->pid, address, buffer, size);
}

/* One entry of the pagemap for each page of the machine, which may be larger than 4 KiB. */
static bool
read_residence(void *context, uintptr_t address, uint64_t *pages)
{
    struct pm_process_reader *process = context;
    uint64_t entries[WINDOW];
    size_t page = pm_os_page_size();
    size_t first = address / page, count = (address + WINDOW * PM_POOL_SIZE - 1) / page - first + 1;
    size_t bytes = count * sizeof entries[0];
    if (pm_os_read_at(process->pagemap, entries, bytes, first * sizeof entries[0]) != bytes)
        return false;
    *pages = 0;
    for (unsigned i = 0; i < WINDOW; i++)
        if (entries[(address + i * PM_POOL_SIZE) / page - first] & PAGE_PRESENT)
            *pages |= UINT64_C(1) << i;
    return true;
}

void
pm_reader_open(struct pm_process_reader *process, long pid, bool residence)
{
    char path[PM_PROC_PATH_SIZE], probe;
    bool own = pid == pm_os_pid();
    *process = (struct pm_process_reader){
        .reader = {.read = read_memory, .context = process}, .pid = pid, .memory = -1, .pagemap = -1};
    /* A process can always read itself; where a sandbox forbids the call the file remains. */
    if (own && !pm_os_read_process(pid, (uintptr_t)&own, &probe, 1)) {
        pm_reader_proc_path(path, pid, "mem");
        process->memory = pm_os_open(path);
    }
    if (residence) {
        pm_reader_proc_path(path, pid, "pagemap");
        process->pagemap = pm_os_open(path);
        if (process->pagemap >= 0)
            process->reader.resident = read_residence;
    }
}

void
pm_reader_close(struct pm_process_reader *process)
{
    if (process->memory >= 0)
        pm_os_close(process->memory);
    if (process->pagemap >= 0)
        pm_os_close(process->pagemap);
}
