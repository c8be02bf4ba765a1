#!/bin/sh
# SPDX-License-Identifier: MIT
#
# exports.sh SHARED ARCHIVE: both make visible what poolobject.h declares, and nothing else.
set -eu
for list in "$(nm -D --defined-only "$1")" "$(nm -g --defined-only "$2")"; do
    names=$(echo "$list" | awk 'NF == 3 { print $3 }')
    other=$(echo "$names" | grep -v '^po_' || true)
    if [ -n "$other" ]; then
        echo "visible and not of the interface: $other" >&2
        exit 1
    fi
    for name in po_new po_incref po_decref po_gc_collect po_transfer po_heap_print_stats; do
        if ! echo "$names" | grep -qx "$name"; then
            echo "$name is missing" >&2
            exit 1
        fi
    done
    internal=$(echo "$names" | grep -E '^po_(old|subset|young|store|dispose|carry|map|types)' || true)
    if [ -n "$internal" ]; then
        echo "visible and internal: $internal" >&2
        exit 1
    fi
done
