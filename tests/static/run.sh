#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Links program.c with the libraries in every way that is offered, and runs each result: fully static with and without
# --wrap, dynamically with the static library, and with the shared one; and api.c with the library that replaces
# nothing.
#
# usage: run.sh SOURCE_DIR LIBRARY_DIR COMPILER [archives] [EMULATOR ...]
# With "archives" the shared library is left out: it belongs to the libc it was built for.
# With LIBRARY_DIR "build", the libraries are first built with COMPILER, in a directory that is removed afterwards: for
# another libc than the build's own. Exit status 77 means that COMPILER is not installed.
set -eu
if [ $# -lt 3 ]; then
    echo "run.sh: usage: run.sh SOURCE_DIR LIBRARY_DIR|build COMPILER [archives] [EMULATOR ...]" >&2
    exit 2
fi
source=$1 libraries=$2 compiler=$3 shared=yes
shift 3
if [ "${1-}" = archives ]; then
    shared=no
    shift
fi
emulator=("$@")
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
    local program=$1 name=$2
    shift 2
    "$compiler" -O1 -g -pthread -I"$source/include" "$source/tests/static/$program" "$@" -o "$work/program"
    printf '%-40s ' "$name"
    "${emulator[@]}" "$work/program"
}

check program.c "static, --wrap" -static -Wl,@"$source/src/poolmalloc_wrap.options" "$libraries/libpoolmalloc_wrap.a"
check program.c "static, replaced" -static "$libraries/libpoolmalloc.a"
check program.c "dynamic, static library" "$libraries/libpoolmalloc.a"
check api.c "static, pm_* only" -static "$libraries/libpoolmalloc_api.a"
check api.c "dynamic, pm_* only" "$libraries/libpoolmalloc_api.a"
if [ "$shared" = yes ]; then
    check program.c "dynamic, shared library" -L"$libraries" -lpoolmalloc -Wl,-rpath,"$libraries"
fi
