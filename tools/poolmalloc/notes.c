/* SPDX-License-Identifier: MIT */
#include "notes.h"

#include <elf.h>
#include <string.h>

void
pm_notes_start(struct pm_notes *notes, const void *bytes, size_t size, uint64_t alignment)
{
    *notes = (struct pm_notes){.bytes = bytes, .size = size, .alignment = alignment == 8 ? 8 : 4};
}

/* Skips `size` bytes and the padding behind them; false when they are not all there. The last padding may be
 * missing. */
static bool
skip(struct pm_notes *notes, size_t size)
{
    size_t left = notes->size - notes->offset;
    if (size > left)
        return false;
    size_t padding = -(notes->offset + size) & (notes->alignment - 1);
    notes->offset += size + padding < left ? size + padding : left;
    return true;
}

bool
pm_notes_next(struct pm_notes *notes, struct pm_note *note)
{
    Elf64_Nhdr header;
    if (notes->size - notes->offset < sizeof header)
        return false;
    memcpy(&header, notes->bytes + notes->offset, sizeof header);
    notes->offset += sizeof header;
    *note = (struct pm_note){.type = header.n_type, .owner_size = header.n_namesz,
                             .description_size = header.n_descsz};
    note->owner = (const char *)notes->bytes + notes->offset;
    if (!skip(notes, header.n_namesz))
        return false;
    note->description_offset = notes->offset;
    note->description = notes->bytes + notes->offset;
    return skip(notes, header.n_descsz);
}

bool
pm_note_is(const struct pm_note *note, const char *owner, uint32_t type)
{
    return note->type == type && note->owner_size == strlen(owner) + 1 &&
           memcmp(note->owner, owner, note->owner_size) == 0;
}
