# SPDX-License-Identifier: MIT
# A shell script of hundreds of forks, each of which goes on allocating and freeing in its copy of the heap.
needs_program bash bash
min_blocks=10000
min_processes=300

run() {
    program bash "$inputs/forks.sh"
}
