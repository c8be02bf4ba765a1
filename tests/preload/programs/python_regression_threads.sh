# SPDX-License-Identifier: MIT
# CPython's own tests of threads, processes, forks and foreign functions.
modules=(
    test_atexit test_context test_ctypes test_fork1 test_mmap test_multiprocessing_fork':*TestPool*' test_posix test_queue
    test_subprocess test_thread test_threading test_threading_local test_threadsignals test_weakref)
source "$inputs/python_regression.sh"
