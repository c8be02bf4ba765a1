/* SPDX-License-Identifier: MIT
 *
 * Notes of an ELF segment that was copied into a buffer. What is in it may be anything: every length is compared with
 * what is left, and notes that do not fit are the end.
 */
#ifndef PM_NOTES_H
#define PM_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pm_notes {
    const unsigned char *bytes;
    size_t size, offset; /* of the next one */
    size_t alignment;    /* of what they consist of: 4, or 8 if the segment says so */
};

struct pm_note {
    uint32_t type;
    const char *owner; /* not ended */
    size_t owner_size;
    size_t description_offset; /* from the start of the segment */
    const unsigned char *description;
    size_t description_size;
};

/* The most of a segment of notes that is looked at. */
#define PM_NOTES_MAX 16384

void pm_notes_start(struct pm_notes *notes, const void *bytes, size_t size, uint64_t alignment);
bool pm_notes_next(struct pm_notes *notes, struct pm_note *note);

/* Has the note that owner, whose length here includes the end, and that type? */
bool pm_note_is(const struct pm_note *note, const char *owner, uint32_t type);

#endif
