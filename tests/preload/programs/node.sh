# SPDX-License-Identifier: MIT
# node: V8 keeps JavaScript objects in heaps of its own, but everything C++ around them comes from operator new, from many
# threads.
needs_program node nodejs
min_blocks=10000
# The script and the child it starts.
min_processes=2

run() {
    program node "$inputs/server_side.js"
}
