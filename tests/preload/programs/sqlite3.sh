# SPDX-License-Identifier: MIT
# The sqlite3 shell: a few thousand long-lived blocks of the page cache among very many short-lived small ones.
needs_program sqlite3 sqlite3
min_blocks=1000

run() {
    program sqlite3 -batch sales.db <"$inputs/bulk.sql"
    program sqlite3 -batch -readonly sales.db .dump | sha256sum
}
