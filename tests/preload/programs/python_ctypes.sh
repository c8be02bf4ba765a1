# SPDX-License-Identifier: MIT
# ctypes hands malloc's own addresses to Python. Its objects hold a `long double` and are filled with 16-byte
# instructions, so it needs the alignment of 16 that compact mode gives up: a case of its own, not run in compact mode.
needs_success python3 python3 -c 'import ctypes'
min_blocks=10000

run() {
    PYTHONMALLOC=malloc program python3 "$inputs/python/foreign_memory.py"
}
