# SPDX-License-Identifier: MIT
# Programs that limit their own address space: python3 to 2 GiB, after which it starts threads, loads modules, maps memory
# and runs out of it; and bash, with and without a subshell. Each goes on as it does without poolmalloc.
needs_program python3 python3
min_blocks=100000
min_processes=5

run() {
    PYTHONMALLOC=malloc program python3 - <<'END'
import resource

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))

import mmap, threading

results = []
threads = [threading.Thread(target=lambda: results.append(sum(len(str(i)) for i in range(20000)))) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(results), set(results))
import _decimal, _lzma, sqlite3
print(_decimal.Decimal(1) / 3, sqlite3.connect(":memory:").execute("select 7 * 6").fetchone())
with mmap.mmap(-1, 256 << 20) as mapping:
    mapping[100 << 20] = 1
    print(mapping[100 << 20])
try:
    strings = []
    while True:
        strings.append("x" * 300 + str(len(strings)))
except MemoryError:
    enough = len(strings) > 3000000
    strings = None
    print("MemoryError", enough)
resource.prlimit(0, resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))
print(len([str(i) for i in range(100000)]), resource.getrlimit(resource.RLIMIT_AS)[0] >> 30)
END
    program bash -c 'ulimit -v 400000 && ulimit -v; x=$(seq 1 100000); echo ${#x}; (ulimit -v 200000; seq 1 3; ulimit -v)'
}
