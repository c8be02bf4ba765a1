#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Shows that run_program.sh can fail. Every test here is a run that has to be rejected, with the exit status and a part
# of the message it must give: without the preload, with the wrong library, with forged statistics, with one process
# among several that escaped, with any difference in behaviour. Two runs that must pass come first.
#
# usage: self_test.sh LIBRARY

# Much here is expanded by the shells that it starts.
# shellcheck disable=SC2016
set -u -o pipefail

if (($# != 1)) || [[ ! -f $1 ]]; then
    echo 'self_test.sh: the library is needed (usage: self_test.sh LIBRARY)' >&2
    exit 2
fi
library=$(realpath -- "$1")
tests=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 1
directory=$(mktemp -d "${TMPDIR:-/tmp}/poolmalloc-self-test.XXXXXX") || exit 1
trap 'rm -rf -- "$directory"' EXIT
mkdir "$directory/tmp"
failures=0

# expect STATUS MESSAGE ARGUMENT...: run_program.sh with these arguments ends with STATUS and prints MESSAGE.
expect() {
    local status=$1 message=$2
    shift 2
    TMPDIR=$directory/tmp "$tests/run_program.sh" "$@" >"$directory/stdout" 2>"$directory/stderr"
    local actual=$?
    if ((actual == status)) && grep -q -F -- "$message" "$directory/stdout" "$directory/stderr"; then
        return
    fi
    printf 'FAILED self test: run_program.sh %s\nexpected exit status %d and: %s\nbut exit status %d and:\n' \
        "$*" "$status" "$message" "$actual"
    cat "$directory/stdout" "$directory/stderr"
    ((failures += 1))
}

# expect_case STATUS MESSAGE BODY: the same for a case file with this text.
expect_case() {
    printf '%s\n' "$3" >"$directory/case.sh"
    expect "$1" "$2" "$directory/case.sh" "$library"
}

# One line on stderr, nothing on stdout.
expect_usage_error() {
    expect 2 "$@"
    if [[ -s $directory/stdout || $(wc -l <"$directory/stderr") != 1 ]]; then
        printf 'FAILED self test: more than one line for: %s\n' "$*"
        ((failures += 1))
    fi
}

# ---- What has to pass ------------------------------------------------------------------------------------------------

active='run() { program bash -c "echo hello; echo warning >&2"; }'
expect_case 0 'ok case' "$active"
expect 0 'ok case (POOLMALLOC_CHECK=1)' "$directory/case.sh" "$library" POOLMALLOC_CHECK=1

# ---- The library was not active --------------------------------------------------------------------------------------

expect 1 'FAILED case: the library was not active' --without-preload "$directory/case.sh" "$library"
expect 1 'FAILED bash_forks: the library was not active' --without-preload "$tests/programs/bash_forks.sh" "$library"

# Some other library that a process is certain to have.
other=$(awk '/\/(libc|ld)[-.]/ { print $6; exit }' /proc/self/maps)
expect 1 'FAILED case: the library was not active' "$directory/case.sh" "$other"

expect_case 1 'left no statistics' 'run() { program bash -c "echo 1"; program env -u LD_PRELOAD bash -c "echo 2"; }'
expect_case 1 'left no statistics' 'run() { program bash -c "echo 1"; program bash -c "echo 2; exec -c true"; }'
expect_case 1 'no process was started' 'run() { echo hello; }'
expect_case 1 'expected at least 1000' 'min_processes=1000; run() { program bash -c "echo hello"; }'
expect_case 1 'blocks refilled, expected at least' 'min_blocks=1000000000; run() { program bash -c "echo hello"; }'
expect_case 1 'does not map the library' 'run() {
    start_program env -u LD_PRELOAD sleep 60
    prove_mapped "$program_pid"
    kill "$program_pid"
    echo stopped
}'

# Statistics that say the wrong thing: a shell that is not preloaded writes them where the library would.
cat >"$directory/forge.sh" <<'END'
echo hello
[[ -n ${POOLMALLOC_STATS_FILE-} ]] || exit 0
{
    echo "poolmalloc 0.1.0 statistics of process ${1/own/$$}"
    echo "  blocks refilled        $2"
} >"${POOLMALLOC_STATS_FILE/\%p/$$}"
END
expect_forged() {
    expect_case "$1" "$2" "run() { program env -u LD_PRELOAD bash '$directory/forge.sh' $3 $4; }"
}
expect_forged 0 'ok case' own 7
expect_forged 1 'refilled no block' own 0
expect_forged 1 'refilled no block' own none
expect_forged 1 'refilled no block' 1 7

# ---- Different behaviour ---------------------------------------------------------------------------------------------

# True in the preloaded run only.
preloaded='[[ -n ${LD_PRELOAD-} ]]'
expect_case 1 'FAILED case: behaves differently' "run() { program bash -c 'echo 1; $preloaded && echo 2; exit 0'; }"
expect_case 1 '+exit status 3' "run() { program bash -c 'echo 1; $preloaded && exit 3; exit 0'; }"
expect_case 1 '+exit status 134' "run() { program bash -c 'echo 1; $preloaded && kill -ABRT \$\$; exit 0'; }"
expect_case 1 '+stray' "run() { program bash -c 'echo 1; $preloaded && echo stray >&2; exit 0'; }"
expect_case 0 'ok case' "compare_stderr=no; run() { program bash -c 'echo 1; $preloaded && echo stray >&2; exit 0'; }"
# A failure in the middle is not hidden by success at the end.
expect_case 1 '+exit status 5' "run() { program bash -c 'echo 1; $preloaded && exit 5; exit 0'; echo 2; }"

# ---- Cases that prove nothing ----------------------------------------------------------------------------------------

expect_case 1 'nothing to compare' 'run() { program bash -c true; }'
expect_case 1 'without the library: exit status 4' 'run() { program bash -c "echo 1; exit 4"; }'
expect_case 1 'its input could not be made' "prepare() { false; true; }; $active"
expect_case 77 'Debian package some-package' "needs_program no-such-command some-package; $active"

# ---- Arguments -------------------------------------------------------------------------------------------------------

expect_usage_error 'a case file and a library are needed'
expect_usage_error 'a case file and a library are needed' "$directory/case.sh"
expect_usage_error "unknown option '--fast'" --fast "$directory/case.sh" "$library"
expect_usage_error 'no case file' "$directory/no-such-case.sh" "$library"
expect_usage_error 'no library' "$directory/case.sh" "$directory/no-such-library.so"
expect_usage_error "not a setting of the library: 'CHECK=1'" "$directory/case.sh" "$library" CHECK=1

# ---- Nothing is left behind ------------------------------------------------------------------------------------------

if [[ -n $(ls -A "$directory/tmp") ]]; then
    echo 'FAILED self test: left behind:'
    find "$directory/tmp"
    ((failures += 1))
fi
((failures == 0)) && echo 'ok self test'
exit $((failures != 0))
