# SPDX-License-Identifier: MIT
# CPython's own tests of its containers and of memory that is shared, resized and collected.
modules=(
    test_array test_bytes test_collections test_deque test_descr test_dict test_exceptions test_gc test_generators
    test_itertools test_list test_memoryview test_set test_tuple test_unicode)
source "$inputs/python_regression.sh"
