#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Links program.c with the libraries in every way that is offered, and runs each result: fully static with and without
# --wrap, dynamically with the static library, and with the shared one.
#
# usage: run.sh SOURCE_DIR LIBRARY_DIR COMPILER [EMULATOR ...]
# With LIBRARY_DIR "build", the libraries are first built with COMPILER, in a directory that is removed afterwards: for
# another libc than the build's own. Exit status 77 means that COMPILER is not installed.
set -eu
if [ $# -lt 3 ]; then
    echo "run.sh: usage: run.sh SOURCE_DIR LIBRARY_DIR|build COMPILER [EMULATOR ...]" >&2
    exit 2
fi
source=$1 libraries=$2 compiler=$3 emulator=("${@:4}")
if ! command -v "$compiler" >/dev/null; then
    echo "skipped: $compiler is not installed (Debian: musl-tools for musl-gcc)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$libraries" = build ]; then
    libraries=$work/build
    cmake -S "$source" -B "$libraries" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DPOOLMALLOC_BUILD_TESTS=OFF \
        -DPOOLMALLOC_BUILD_BENCH=OFF -DPOOLMALLOC_BUILD_COMMAND=OFF -DCMAKE_C_FLAGS=-Werror >"$work/log" 2>&1 &&
        cmake --build "$libraries" >>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
fi

check() {
    local name=$1
    shift
    "$compiler" -O1 -g -pthread -I"$source/include" "$source/tests/static/program.c" "$@" -o "$work/program"
    printf '%-40s ' "$name"
    "${emulator[@]}" "$work/program"
}

check "static, --wrap" -static -Wl,@"$source/src/poolmalloc_wrap.options" "$libraries/libpoolmalloc_wrap.a"
check "static, replaced" -static "$libraries/libpoolmalloc.a"
check "dynamic, static library" "$libraries/libpoolmalloc.a"
check "dynamic, shared library" -L"$libraries" -lpoolmalloc -Wl,-rpath,"$libraries"
