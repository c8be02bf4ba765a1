# SPDX-License-Identifier: MIT
# What the cases on CPython's own regression suite share. Sourced by them; each sets the array `modules`: the names of the
# modules, with the pattern that selects some of a module's tests after a colon.
#
# All modules of a case run at once, each in its own process: the suites of threads and processes mostly wait. So each
# process has to prove itself, and a crash names its module.
needs_success libpython3.11-testsuite python3 -c 'import test.test_list, test.test_threading'
min_blocks=100000
# It holds warnings with process ids and durations.
compare_stderr=no

run() {
    export PYTHONMALLOC=malloc PYTHONHASHSEED=0
    local -A processes
    local entry module pattern result=0
    for entry in "${modules[@]}"; do
        module=${entry%%:*}
        pattern=${entry#"$module"}
        start_program python3 -m test "$module" ${pattern:+-m "${pattern#:}"} >"$module.log" 2>&1
        processes[$module]=$program_pid
    done
    for entry in "${modules[@]}"; do
        module=${entry%%:*}
        if wait "${processes[$module]}"; then
            # "1 test OK." or the reason why nothing was tested.
            printf '%s: %s\n' "$module" "$(grep -E '^1 test |skipped' "$module.log")"
        else
            printf '%s: exit status %d\n' "$module" $?
            tail -n 60 "$module.log"
            result=1
        fi
    done
    return $result
}
