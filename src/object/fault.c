/* SPDX-License-Identifier: MIT
 *
 * The end of a program that misuses objects: one line on stderr, then SIGABRT.
 */
#include "../os.h"
#include "../text.h"
#include "object.h"

/* The format's %s are the names in turn, its %u the number. */
static void
write_line(const char *format, const char *const names[2], uint64_t number)
{
    struct pm_text text;
    unsigned next = 0;
    pm_text_start(&text, 2);
    pm_text_string(&text, "poolobject: ");
    for (const char *c = format; *c != '\0'; c++) {
        if (c[0] == '%' && c[1] == 's') {
            const char *name = next < 2 ? names[next++] : NULL;
            pm_text_string(&text, name != NULL ? name : "?");
            c++;
        } else if (c[0] == '%' && c[1] == 'u') {
            pm_text_number(&text, number);
            c++;
        } else {
            pm_text_bytes(&text, c, 1);
        }
    }
    pm_text_string(&text, "\n");
    pm_text_flush(&text);
}

void
po_say(const char *format, const char *first, const char *second, uint64_t number)
{
    write_line(format, (const char *const[2]){first, second}, number);
}

_Noreturn void
po_fault(const char *format, const po_type *first, const po_type *second)
{
    po_say(format, first != NULL ? first->name : NULL, second != NULL ? second->name : NULL, 0);
    pm_os_abort();
}

_Noreturn void
po_fault_call(const char *call, const char *what)
{
    po_say("%s: %s", call, what, 0);
    pm_os_abort();
}

PM_SLOW void
po_check_heap_slow(po_heap *heap, const char *call)
{
    if (heap == NULL)
        po_fault_call(call, "no heap");
    if (heap->magic != PO_HEAP_MAGIC)
        po_fault_call(call, "the heap was destroyed");
    po_check_use(heap, call);
}

void
po_check_use(po_heap *heap, const char *call)
{
    if ((heap->watched & PO_DEBUG_THREAD) != 0 && heap->owner != po_thread_number())
        po_fault_call(call, "the heap belongs to another thread");
    if (heap->traversing != NULL) {
        po_say("%s: called by the traverse function of type %s", call, heap->traversing->name, 0);
        pm_os_abort();
    }
}
