#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs one real program twice, plainly and with a library preloaded, and compares what it did: exit status, stdout and,
# unless the case says otherwise, stderr. A run that merely ignored the library would compare equal too, so every
# preloaded process has to prove that its blocks came from the library: it must leave the statistics that poolmalloc
# writes at exit, with at least one block refilled.
#
# usage: run_program.sh [--without-preload] CASE_FILE LIBRARY [POOLMALLOC_NAME=VALUE ...]
#
#   --without-preload   leaves LD_PRELOAD out of the second run; the self test uses it to see the proof fail
#   POOLMALLOC_...      settings of the library for the second run
#
# exit status: 0 the same behaviour and proven active, 1 not, 2 bad arguments, 77 the program is not installed.
#
# A case file is a piece of bash that is sourced here. It may define and use:
#
#   needs_program NAME PACKAGE      skip unless NAME is a command; PACKAGE is the Debian package to install
#   needs_success PACKAGE COMMAND   skip unless COMMAND succeeds
#   compare_stderr=no               stderr holds times, addresses or progress
#   min_processes=N                 that many processes must have left statistics (1)
#   min_blocks=N                    the blocks refilled by all of them together must reach N (1)
#   prepare()                       makes input for both runs; called once, without the library, in $input
#   run()                           called twice, each time in an empty directory of the same name, under set -e;
#                                   what it prints is what is compared. Inside it:
#     $inputs, $input                 the folder of the same name beside this file; what prepare() made
#     program COMMAND ...             runs a command with the library preloaded in the second run
#     start_program COMMAND ...       the same in the background; its process id is in $program_pid
#     prove_mapped PID                notes a failure if the live process does not map the library
#
# Only what goes through program and start_program, and what these processes start, is preloaded: a statistics file
# of some helper command cannot stand in for the one of the program under test.

set -u -o pipefail

usage_error() {
    local usage='run_program.sh [--without-preload] CASE_FILE LIBRARY [POOLMALLOC_NAME=VALUE ...]'
    printf 'run_program.sh: %s (usage: %s)\n' "$1" "$usage" >&2
    exit 2
}

# ---- Arguments -------------------------------------------------------------------------------------------------------

preload=yes
if [[ ${1-} == --without-preload ]]; then
    preload=no
    shift
elif [[ ${1-} == -* ]]; then
    usage_error "unknown option '$1'"
fi
(($# >= 2)) || usage_error 'a case file and a library are needed'
case_file=$1
library=$2
settings=("${@:3}")
[[ -f $case_file && -r $case_file ]] || usage_error "no case file '$case_file'"
[[ -f $library && -r $library ]] || usage_error "no library '$library'"
for setting in "${settings[@]}"; do
    [[ $setting =~ ^POOLMALLOC_[A-Z_]+=.*$ ]] || usage_error "not a setting of the library: '$setting'"
done
case_file=$(realpath -- "$case_file")
name=$(basename -- "$case_file" .sh)${settings[*]:+ (${settings[*]})}

# ---- Surroundings that are the same everywhere ------------------------------------------------------------------------

inputs=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/inputs" && pwd) || exit 1

unset "${!POOLMALLOC_@}" "${!LD_@}" "${!PYTHON@}" "${!PERL@}" "${!LUA_@}" "${!NODE_@}" "${!GIT_@}" "${!CMAKE_@}" \
    "${!XZ_@}" "${!ZSTD_@}" CC CXX CFLAGS CXXFLAGS LDFLAGS TAR_OPTIONS BASH_ENV ENV
export PATH=/usr/bin:/bin:/usr/local/bin LC_ALL=C TZ=UTC0
ulimit -c 0
umask 022

directory=$(mktemp -d "${TMPDIR:-/tmp}/poolmalloc-preload.XXXXXX") || exit 1
trap 'rm -rf -- "$directory"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$directory"/{home,tmp,input,plain,preloaded,statistics} || exit 1
# A copy: all processes of a run load the same build, even if the library is being rebuilt meanwhile.
cp -- "$library" "$directory/" || exit 1
library=$directory/$(basename -- "$library")
# The dynamic linker splits LD_PRELOAD at spaces and colons and has no way to quote them.
[[ $library != *[[:space:]:]* ]] || usage_error "a path with a space or a colon cannot be preloaded: '$library'"
export HOME=$directory/home TMPDIR=$directory/tmp
input=$directory/input
started=$directory/started   # one line per process of program and start_program: its id and its command
inactive=$directory/inactive # one line per reason to doubt that the library was active

fail() {
    printf 'FAILED %s: %s\n' "$name" "$1"
    exit 1
}

# ---- What case files use ----------------------------------------------------------------------------------------------

compare_stderr=yes
min_processes=1
min_blocks=1
prepare() { :; }
run() { fail "$case_file defines no run()"; }

needs_success() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    printf 'SKIPPED %s: not installed: %s (Debian package %s)\n' "$name" "$*" "$package"
    exit 77
}

needs_program() {
    needs_success "$2" command -v "$1"
}

# Replaces the calling subshell by the program, so that the process id noted here is the program's. `env` sets the
# library for the program alone and undoes the ignored SIGINT of background processes, which some test suites notice.
become_program() {
    local environment=()
    if [[ $phase == preloaded ]]; then
        printf '%s %s\n' "$BASHPID" "$*" >>"$started"
        environment=(POOLMALLOC_STATS=1 "POOLMALLOC_STATS_FILE=$directory/statistics/stats.%p" "${settings[@]}")
        [[ $preload == no ]] || environment+=("LD_PRELOAD=$library")
    fi
    exec env --default-signal "${environment[@]}" "$@"
}

program() {
    (become_program "$@")
}

start_program() {
    (become_program "$@") &
    program_pid=$!
}

prove_mapped() {
    [[ $phase == preloaded ]] || return 0
    grep -q -F -- " $library" "/proc/$1/maps" || printf 'process %s does not map the library\n' "$1" >>"$inactive"
}

# ---- One run, the proof, the comparison -------------------------------------------------------------------------------

# Both runs work in a directory of the same name: paths get into debug information and messages.
run_phase() {
    phase=$1
    mkdir "$directory/work" || exit 1
    (
        cd "$directory/work" || exit 1
        set -e
        run
    ) </dev/null >"$directory/$phase/stdout" 2>"$directory/$phase/stderr"
    echo "exit status $?" >"$directory/$phase/status"
    rm -rf -- "$directory/work"
}

# The blocks refilled according to a statistics file, 0 when it is not one of process $2.
blocks_refilled() {
    awk -v pid="$2" '
        NR == 1 && $0 !~ "^poolmalloc [0-9.]+ statistics of process " pid "$" { exit }
        /^ *blocks refilled +[0-9]+$/ { blocks = $3 }
        END { print blocks + 0 }' "$1"
}

# Sets active_processes and active_blocks and adds to $inactive what speaks against the library having been active.
prove_active() {
    local file pid command blocks
    active_processes=0
    active_blocks=0
    for file in "$directory"/statistics/stats.*; do
        [[ -e $file ]] || continue
        blocks=$(blocks_refilled "$file" "${file##*.}")
        ((blocks > 0)) || continue
        ((active_processes += 1, active_blocks += blocks))
    done
    {
        [[ -s $started ]] || echo 'no process was started through program or start_program'
        while read -r pid command; do
            file=$directory/statistics/stats.$pid
            if [[ ! -e $file ]]; then
                echo "process $pid ($command) left no statistics"
            elif (($(blocks_refilled "$file" "$pid") == 0)); then
                echo "process $pid ($command) refilled no block"
            fi
        done < <(cat -- "$started" 2>/dev/null)
        ((active_processes >= min_processes)) ||
            echo "$active_processes processes left statistics, expected at least $min_processes"
        ((active_blocks >= min_blocks)) || echo "$active_blocks blocks refilled, expected at least $min_blocks"
    } >>"$inactive"
}

# Prints how a stream of the preloaded run differs from the plain one's; true when it does.
differs() {
    cmp -s "$directory/plain/$1" "$directory/preloaded/$1" && return 1
    diff -a -u --label "plain/$1" --label "preloaded/$1" "$directory/plain/$1" "$directory/preloaded/$1" | head -n 60
    return 0
}

source "$case_file"

phase=prepare
(
    cd "$input" || exit 1
    set -e
    prepare
) </dev/null >"$directory/prepare.log" 2>&1
# A subshell that is itself a condition would ignore its set -e.
# shellcheck disable=SC2181
if (($? != 0)); then
    tail -n 40 "$directory/prepare.log"
    fail 'its input could not be made'
fi

run_phase plain
if [[ $(cat "$directory/plain/status") != 'exit status 0' ]]; then
    tail -n 40 "$directory/plain/stdout" "$directory/plain/stderr"
    fail "without the library: $(cat "$directory/plain/status"); the fault is the case's or the machine's"
fi
[[ -s $directory/plain/stdout ]] || fail 'it prints nothing, so there is nothing to compare'

run_phase preloaded
prove_active

result=0
differs status && result=1
differs stdout && result=1
if [[ $compare_stderr == yes ]]; then
    differs stderr && result=1
elif ((result != 0)); then
    tail -n 40 "$directory/preloaded/stderr"
fi
((result == 0)) || printf 'FAILED %s: behaves differently with the library\n' "$name"
if [[ -s $inactive ]]; then
    head -n 20 "$inactive"
    printf 'FAILED %s: the library was not active\n' "$name"
    result=1
fi
((result == 0)) && printf 'ok %s (processes: %d, blocks refilled: %d)\n' "$name" "$active_processes" "$active_blocks"
exit "$result"
