#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs on poolmalloc under qemu's user-mode emulation: linked in every way, preloaded, with a plugin bound deep, and
# misusing the heap; built by COMPILER, whose target may be another machine than this one. With LIBRARY_DIR "build" the
# libraries are built by it too, and the unit tests that need no more of a kernel than qemu has run as well.
#
# usage: run.sh SOURCE_DIR LIBRARY_DIR|build COMPILER
# Exit status 77: the compiler or the emulator is not installed.
set -eu -o pipefail
if [ $# -ne 3 ]; then
    echo "run.sh: usage: run.sh SOURCE_DIR LIBRARY_DIR|build COMPILER" >&2
    exit 2
fi
source=$1 libraries=$2 compiler=$3
if ! command -v "$compiler" >/dev/null; then
    echo "skipped: $compiler is not installed (Debian: gcc-aarch64-linux-gnu and libc6-dev-arm64-cross for arm64)"
    exit 77
fi
triplet=$("$compiler" -dumpmachine)
emulator=(qemu-"${triplet%%-*}")
if ! command -v "${emulator[0]}" >/dev/null; then
    echo "skipped: ${emulator[0]} is not installed (Debian: qemu-user)"
    exit 77
fi
[ ! -d "/usr/$triplet/lib" ] || emulator+=(-L "/usr/$triplet")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ulimit -c 0

fail() {
    printf 'run.sh: %s\n' "$1" >&2
    exit 1
}

build_libraries=no
if [ "$libraries" = build ]; then
    build_libraries=yes
    libraries=$work/build
    cmake -S "$source" -B "$libraries" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DPOOLMALLOC_BUILD_TESTS=OFF \
        -DPOOLMALLOC_BUILD_BENCH=OFF -DPOOLMALLOC_BUILD_COMMAND=OFF -DCMAKE_C_FLAGS=-Werror >"$work/log" 2>&1 &&
        cmake --build "$libraries" >>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
fi
library=$libraries/libpoolmalloc.so

support=$source/tests/api/support
compile() {
    "$compiler" -O1 -g -pthread -D_GNU_SOURCE -fno-builtin-malloc -fno-builtin-free -fno-builtin-calloc \
        -fno-builtin-realloc -I"$source/include" -I"$source/src" -I"$source/tests/api" -I"$source/tests/unit" \
        -I"$work/include" "$@"
}

# emulated [NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]
emulated() {
    local settings=()
    while [ "$1" != -- ]; do
        settings+=(-E "$1")
        shift
    done
    "${emulator[@]}" "${settings[@]}" "${@:2}"
}

# ---- A program of the machine's, with nothing set: the usual reservation, blocks in the range of the stack -----------

if [ "$(uname -m)" = "${triplet%%-*}" ]; then
    echo 'preloaded: /bin/ls'
    emulated -- /bin/ls -l /bin/ /usr/lib >"$work/plain"
    emulated LD_PRELOAD="$library" POOLMALLOC_STATS=1 POOLMALLOC_STATS_FILE="$work/statistics" -- \
        /bin/ls -l /bin/ /usr/lib >"$work/preloaded"
    cmp "$work/plain" "$work/preloaded" || fail 'ls lists something else'
    grep -Eq 'blocks refilled +[1-9]' "$work/statistics" || fail 'ls ran without poolmalloc'
fi

# qemu keeps a record of every page, and a fork copies them: a small reservation makes the rest fast.
export POOLMALLOC_REGION=1G
export TEST_EMULATED=1

# ---- Linked in every way: threads, fork, statistics ------------------------------------------------------------------

"$source/tests/static/run.sh" "$source" "$libraries" "$compiler" "${emulator[@]}"

# ---- Preloaded, with a plugin ----------------------------------------------------------------------------------------

echo 'preloaded: a plugin bound deep'
life=$source/tests/life
mkdir "$work/beside"
compile -shared -fPIC "$life/plugin.c" -o "$work/beside/libplugin.so"
compile -shared -fPIC "$life/opener.c" -o "$work/libopener.so" '-Wl,-rpath,$ORIGIN/beside,--enable-new-dtags'
compile "$life/deepbind.c" "$support/check.c" -o "$work/deepbind" -L"$work" -lopener "-Wl,-rpath,$work"
emulated LD_PRELOAD="$library" -- "$work/deepbind" "$work/beside/libplugin.so"
emulated LD_PRELOAD="$library" POOLMALLOC_DEEPBIND=1 -- "$work/deepbind" "$work/beside/libplugin.so" kept

# ---- Misuse ----------------------------------------------------------------------------------------------------------

compile -DTEST_STANDARD_NAMES "$source/tests/crash/misuse.c" "$support/names.c" "$support/check.c" -o "$work/misuse" \
    -L"$libraries" -lpoolmalloc "-Wl,-rpath,$libraries"

# dies CASE MESSAGE
dies() {
    echo "misuse: $1"
    local status=0
    emulated POOLMALLOC_CHECK=1 -- "$work/misuse" "$1" >/dev/null 2>"$work/errors" || status=$?
    [ "$status" -eq 134 ] || fail "$1 ends with status $status instead of SIGABRT"
    grep -Eqx "poolmalloc: free\(0x[0-9a-f]+\): $2" "$work/errors" || fail "$1 says: $(cat "$work/errors")"
}

dies stack_of_main_thread 'an address on a stack'
dies stack_before_anything_else 'an address on a stack'
dies double_free 'the block is already free \(double free\)'

# ---- The contract and the units, on another machine ------------------------------------------------------------------

if [ "$build_libraries" = yes ]; then
    mkdir -p "$work/include/criterion"
    echo '#include "support/suite.h"' >"$work/include/criterion/criterion.h"
    with_suite() {
        compile -DTEST_WITHOUT_CRITERION "$support/suite.c" "$support/blocks.c" "$support/check.c" "$@"
    }
    echo 'the contract'
    api=("$source"/tests/api/{alignment,classes,contract,glibc_extras,mismatch,realloc,statistics}.c)
    with_suite -DTEST_STANDARD_NAMES "${api[@]}" "$support"/{claim,measure,names,producers}.c -o "$work/api" \
        -L"$libraries" -lpoolmalloc "-Wl,-rpath,$libraries"
    emulated -- "$work/api"
    # run_units FILES... -- ARGUMENTS...; link_options: what the linker needs for them besides
    link_options=()
    run_units() {
        local files=()
        while [ "$1" != -- ]; do
            files+=("$source/tests/unit/$1.c")
            shift
        done
        echo "the units: ${*:2}"
        with_suite "${files[@]}" "$source/tests/unit/unit.c" "${link_options[@]}" "$libraries/libpoolmalloc_api.a" \
            -o "$work/units"
        emulated -- "$work/units" "${@:2}"
    }
    # The first ones want a library that has served nothing yet; the others bring process.c in, which starts it.
    first=(geometry keep lock options system_map text)
    link_options=(-Wl,--wrap=pm_os_is_privileged) # options.c says which it is
    run_units "${first[@]}" os -- "${first[@]}" os::stacks os::what_lies_close_to_the_main_stack_is_not_on_it \
        os::without_a_proof_nothing_is_on_the_main_stack os::threads_that_pthread_create_did_not_make
    link_options=()
    others=(magazine pool process process_alone threads)
    run_units "${others[@]}" -- "${others[@]}"
fi
