# SPDX-License-Identifier: MIT
# cmake and ninja build poolmalloc itself, everything from the generator to the linker running on the pools. The objects
# and libraries have to be the same to the last byte.
needs_program cmake cmake
needs_program ninja ninja-build
needs_program cc gcc
min_blocks=100000
min_processes=40

# Its own copy of the sources, which nobody edits between the two runs; without build trees, hidden files and what the
# build leaves out.
prepare() {
    local entry
    for entry in "$(realpath "$inputs/../../..")"/*; do
        [[ -e $entry/CMakeCache.txt || $entry == */tests || $entry == */bench ]] || cp -R -- "$entry" .
    done
}

run() {
    program cmake -G Ninja -S "$input" -B build -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DPOOLMALLOC_BUILD_TESTS=OFF -DPOOLMALLOC_BUILD_BENCH=OFF \
        -DPOOLMALLOC_BUILD_COMMAND=OFF >cmake.log || { cat cmake.log; return 1; }
    program ninja -C build -j 2 >ninja.log || { cat ninja.log; return 1; }
    # Nothing is left to do: the times and dependencies that ninja keeps are sound.
    program ninja -C build -n | tail -n 1
    find build \( -name '*.o' -o -name '*.so' -o -name '*.a' \) -not -path '*/CompilerId*' -print0 |
        sort -z | xargs -0 sha256sum
}
