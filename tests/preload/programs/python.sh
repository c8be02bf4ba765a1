# SPDX-License-Identifier: MIT
# CPython with PYTHONMALLOC=malloc, which sends every object to malloc instead of to Python's own pools.
needs_program python3 python3
min_blocks=50000

run() {
    local script
    export PYTHONMALLOC=malloc PYTHONHASHSEED=0
    for script in threads_handover processes documents database; do
        echo "== $script"
        program python3 "$inputs/python/$script.py"
    done
}
