# SPDX-License-Identifier: MIT
# The C++ compiler on a source that is nearly all templates, and the program it makes, which uses operator new, threads
# and exceptions.
needs_program g++ g++
min_blocks=10000
min_processes=5

run() {
    program g++ -std=c++17 -O1 -g -pthread -save-temps "$inputs/templates.cpp" -o templates
    sha256sum templates*.s templates*.o templates
    program ./templates
}
