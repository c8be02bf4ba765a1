# SPDX-License-Identifier: MIT
"""What is measured: one row per case. README.md says how to add one."""
import os
import shlex
import shutil
from dataclasses import dataclass, field

# Groups, in the order of the report. The geometric means are taken within each.
GROUPS = {
    "small": "Workloads of up to 512 bytes",
    "mixed": "Workloads with larger blocks among the small ones",
    "memory": "Growing and shrinking populations",
    "program": "Programs",
}


@dataclass
class Places:
    """Directories that commands refer to as {bench}, {programs} and {inputs}."""
    bench: str     # the workload programs
    programs: str  # scripts
    inputs: str    # generated files


@dataclass
class Case:
    name: str
    group: str
    title: str
    full: str                  # the command line of a full run
    quick: str | None = None   # and of a quick one; None: not part of --quick
    time: str | None = "time"  # the metric that is compared: a workload's own `time`, a program's `wall`; None: none
    phases: tuple = ()         # further times shown in rows of their own, not part of the geometric mean
    peak: bool = True          # whether peak resident memory is compared
    most_rounds: int = 1000    # slow cases whose figures hardly vary need few
    needs: tuple = ()          # (executable, Debian package)
    inputs: tuple = ()         # names of generated files, see inputs.py
    environment: dict = field(default_factory=dict)
    workload: bool = True      # one of our programs, which says itself what serves malloc
    reports: bool = True       # prints lines `name value unit`; what others print is compared as it is
    driver: bool = False       # a script that preloads the library into the program it drives
    glibc_behind: bool = False # the program is linked with an allocator of its own, glibc must be named
    places: Places | None = None

    def command(self, quick):
        words = shlex.split(self.quick if quick else self.full)
        return [word.format(**vars(self.places)) for word in words]

    def preload_after(self, allocator):
        """Libraries to preload behind the allocator's."""
        return ["libc.so.6"] if self.glibc_behind else []

    def missing(self, quick):
        """What is not there to run it, as (what, how to get it)."""
        found = [(executable, "apt-get install " + package) for executable, package in self.needs
                 if shutil.which(executable) is None]
        program = self.command(quick)[0]
        if program.startswith(self.places.bench) and not os.access(program, os.X_OK):
            found.append((os.path.basename(program), "cmake --build build"))
        return found


def workload(name, group, title, full, quick=None, **more):
    prefix = "{bench}/"
    return Case(name, group, title, prefix + full, prefix + quick if quick else None, **more)


def program(name, title, full, quick=None, **more):
    more = {"time": "wall", "reports": False, **more}
    return Case(name, "program", title, full, quick, workload=False, **more)


PYTHON = "/usr/bin/python3"
MALLOC = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
PYMALLOC = {"PYTHONHASHSEED": "0"}
GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_PAGER": "cat"}
SQLITE = "sqlite3 :memory: 'CREATE TABLE amount(rows); INSERT INTO amount VALUES(%d);' '.read {programs}/bulk.sql'"

SMALL = [
    workload("pair-40", "small", "malloc and free of 40 bytes, one live block",
             "pair --operations 40M", "pair --operations 10M"),
    workload("pair-all", "small", "malloc and free of one block, all classes of 16 bytes up to 512",
             "pair --min 16 --max 512 --operations 40M"),
    workload("batch-lifo", "small", "2,000 blocks of real sizes, freed in reverse order",
             "batch --order lifo --operations 20M"),
    workload("batch-fifo", "small", "2,000 blocks of real sizes, freed in order",
             "batch --order fifo --operations 20M"),
    workload("batch-random", "small", "2,000 blocks of real sizes, freed in random order",
             "batch --order random --operations 20M", "batch --order random --operations 5M"),
    workload("batch-large", "small", "500,000 blocks of real sizes, freed in random order",
             "batch --count 500k --order random --operations 4M"),
    workload("batch-64", "small", "10,000 blocks of 64 bytes, freed in order, two threads",
             "batch --sizes 64 --count 10k --order fifo --operations 10M --threads 2"),
    workload("replace-1", "small", "slots replaced at random, 8 to 500 bytes, one thread",
             "replace --threads 1 --operations 8M"),
    workload("replace-2", "small",
             "slots replaced at random, 8 to 500 bytes, two threads, themselves replaced ten times",
             "replace --operations 8M", "replace --operations 2M"),
    workload("replace-real", "small", "slots replaced at random, real sizes up to 512 bytes, two threads",
             "replace --sizes real:8-512 --operations 8M"),
    workload("replace-large", "small", "slots replaced at random, 200,000 per thread: more than the caches hold",
             "replace --sizes real:8-512 --slots 200k --operations 3M"),
    workload("prodcons-1-1", "small", "one producer, one consumer",
             "prodcons --operations 4M", "prodcons --operations 1M"),
    workload("prodcons-4-4", "small", "four producers, four consumers",
             "prodcons --producers 4 --consumers 4 --operations 1M"),
    workload("handoff", "small", "one block passed to and fro between two threads",
             "bounce --mode handoff --operations 1M"),
    workload("false-sharing", "small", "each thread writes to its own small blocks", "bounce --operations 1M"),
    workload("false-sharing-passive", "small",
             "each thread writes to its own small blocks, having freed one of the main thread",
             "bounce --mode passive --operations 1M"),
    workload("threads", "small", "20,000 short threads that leave blocks to others", "threads",
             "threads --threads 4000"),
    workload("start", "small", "a tiny program run 300 times", "start --times 300", "start --times 100"),
    workload("trees", "small", "search trees built, aged, walked, torn down",
             "trees --depth 19 --trees 2", "trees --depth 17", phases=("walk",)),
    workload("lists", "small", "linked lists grown together, thinned out, refilled, walked",
             "lists", "lists --nodes 100k",
             phases=("walk",)),
    workload("hashes", "small", "a chained hash table with string keys", "hashes", phases=("walk",)),
    workload("strings-400", "small", "strings grown by realloc piece by piece, up to 400 bytes",
             "strings --operations 10M", "strings --operations 2M"),
    workload("containers", "small", "C++ maps, strings, vectors, lists",
             "containers --words 30k --repeats 3", "containers --words 10k --repeats 1", phases=("walk",)),
]

MIXED = [
    workload("replace-1000", "mixed", "slots replaced at random, uniform 8 to 1000 bytes, two threads",
             "replace --sizes 8-1000 --operations 4M"),
    workload("replace-1024", "mixed", "slots replaced at random, uniform 16 to 1024 bytes, two threads",
             "replace --sizes 16-1024 --operations 4M", "replace --sizes 16-1024 --operations 1M"),
    workload("replace-8000-log", "mixed",
             "slots replaced at random, 16 to 8000 bytes, each doubling as frequent as the next",
             "replace --sizes log:16-8000 --operations 3M"),
    workload("replace-8000-linear", "mixed", "slots replaced at random, 16 to 8000 bytes, falling off linearly",
             "replace --sizes linear:16-8000 --operations 2M"),
    workload("strings-4000", "mixed", "strings grown by realloc by one half, up to 4000 bytes",
             "strings --operations 10M --limit 4000 --growth half"),
    workload("batch-real", "mixed", "2,000 blocks of all real sizes, freed in random order",
             "batch --sizes real --order random --operations 10M"),
]

BURST = "burst --blocks 3M --sizes 16-255 --settle 0.5 "
MEMORY = [
    workload("burst-all", "memory", "3 million blocks, all freed", BURST + "--drain all"),
    workload("burst-200", "memory", "3 million blocks, nine in ten freed in stretches of 200",
             BURST + "--drain stretch --stretch 200",
             "burst --blocks 500k --settle 0.2 --drain stretch --stretch 200"),
    workload("burst-2000", "memory", "3 million blocks, nine in ten freed in stretches of 2,000",
             BURST + "--drain stretch --stretch 2000"),
    workload("burst-random", "memory", "3 million blocks, nine in ten freed at random", BURST + "--drain random"),
    workload("burst-200-threads", "memory", "nine in ten in stretches of 200, four threads, freed by the neighbour",
             BURST + "--drain stretch --stretch 200 --threads 4"),
    workload("burst-random-threads", "memory", "nine in ten at random, four threads, freed by the neighbour",
             BURST + "--drain random --threads 4"),
    workload("burst-all-threads", "memory", "all freed, four threads, freed by the neighbour",
             BURST + "--drain all --threads 4"),
    workload("ageing", "memory", "a population whose size mix changes from phase to phase",
             "ageing --operations 3M", "ageing --operations 500k --bytes 20M"),
    workload("ageing-threads", "memory", "a population whose size mix changes, four threads",
             "ageing --operations 1M --threads 4"),
    workload("sawtooth", "memory", "grow to 200 MB, shrink to 10 MB, ten times", "sawtooth --cycles 10",
             "sawtooth --cycles 5 --high 50M --low 2M"),
    workload("churn", "memory", "steady replacement in 100 MB of small blocks",
             "replace --threads 1 --sizes real:8-512 --slots 1M --operations 4M --generations 1"),
    workload("idle", "memory", "200 threads that allocate 200 blocks, free half and sleep", "idle", "idle",
             time=None, peak=False),
    workload("idle-1000", "memory", "200 threads that allocate 1,000 blocks, free half and sleep",
             "idle --blocks 1000", time=None, peak=False),
    workload("idle-freed", "memory", "200 threads that allocate 1,000 blocks, free them all and sleep",
             "idle --blocks 1000 --keep 0", time=None, peak=False),
    Case("python-objects", "memory", "python3 builds and drops 500 MB of objects, PYTHONMALLOC=malloc",
         PYTHON + " {programs}/objects.py 500", workload=False, most_rounds=3, environment=MALLOC,
         needs=((PYTHON, "python3"),)),
    Case("python-objects-pymalloc", "memory", "python3 builds and drops 500 MB of objects, own allocator",
         PYTHON + " {programs}/objects.py 500", workload=False, most_rounds=3, environment=PYMALLOC,
         needs=((PYTHON, "python3"),)),
]

for slow in MEMORY:  # seconds each, and their memory hardly varies from run to run
    slow.most_rounds = min(slow.most_rounds, 5)

PROGRAMS = [
    program("python-json", "python3, JSON documents, PYTHONMALLOC=malloc",
            PYTHON + " {programs}/json_objects.py 60000 3", PYTHON + " {programs}/json_objects.py 8000 1",
            environment=MALLOC, needs=((PYTHON, "python3"),)),
    program("python-json-pymalloc", "python3, JSON documents, on its own allocator",
            PYTHON + " {programs}/json_objects.py 60000 3", environment=PYMALLOC, needs=((PYTHON, "python3"),)),
    program("lua-trees", "lua5.4, trees of tables and strings",
            "lua5.4 {programs}/trees.lua 16", "lua5.4 {programs}/trees.lua 14", needs=(("lua5.4", "lua5.4"),)),
    program("perl-hashes", "perl, hashes of arrays of hashes",
            "perl {programs}/hashes.pl 150000", "perl {programs}/hashes.pl 30000", needs=(("perl", "perl"),)),
    program("python-text", "python3, tokens, counting, sorting, PYTHONMALLOC=malloc",
            PYTHON + " {programs}/text.py 12000", environment=MALLOC, needs=((PYTHON, "python3"),)),
    program("python-text-pymalloc", "python3, tokens, counting, sorting, on its own allocator",
            PYTHON + " {programs}/text.py 12000", environment=PYMALLOC, needs=((PYTHON, "python3"),)),
    program("sqlite", "sqlite3, bulk insert, indexes, joins, grouping",
            SQLITE % 150000, SQLITE % 20000, needs=(("sqlite3", "sqlite3"),)),
    program("gcc", "gcc -O1 on a generated, preprocessed file",
            "gcc -x cpp-output -S -O1 -o - {inputs}/large.i", "gcc -x cpp-output -S -O1 -o - {inputs}/small.i",
            inputs=("large.i", "small.i"), needs=(("gcc", "gcc"),)),
    program("g++", "g++ on the preprocessed standard headers with some templates in use",
            "g++ -x c++-cpp-output -std=c++17 -S -o - {inputs}/large.ii",
            inputs=("large.ii",), needs=(("g++", "g++"),)),
    program("redis", "redis-server under redis-benchmark over a unix socket",
            PYTHON + " {programs}/redis.py 60000 3000", PYTHON + " {programs}/redis.py 5000 500",
            time="time", reports=True, driver=True, glibc_behind=True,
            needs=(("redis-server", "redis-server"), ("redis-benchmark", "redis-tools"))),
    program("git-log", "git log with statistics and renames", "git --git-dir {inputs}/history.git log --stat -M",
            inputs=("history.git",), needs=(("git", "git"),), environment=GIT),
    program("git-pack", "git packs a history from scratch",
            "git --git-dir {inputs}/history.git pack-objects --all --stdout --no-reuse-delta --no-reuse-object "
            "--threads=1 -q", inputs=("history.git",), needs=(("git", "git"),), environment=GIT),
]

ALL = SMALL + MIXED + MEMORY + PROGRAMS
