# SPDX-License-Identifier: MIT
# The Lua interpreter takes every table, string and closure straight from realloc.
needs_program lua5.4 lua5.4
min_blocks=100000

run() {
    program lua5.4 "$inputs/containers.lua"
}
