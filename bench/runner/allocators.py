# SPDX-License-Identifier: MIT
"""The allocators that are compared: glibc, poolmalloc, every peer found installed, and those named by the caller."""
import os
import subprocess
from dataclasses import dataclass, field

from . import UserError

GLIBC = "glibc"
OURS = "poolmalloc"

# Name, file names to look for, Debian package.
PEERS = [
    ("jemalloc", ["libjemalloc.so.2"], "libjemalloc2"),
    ("mimalloc", ["libmimalloc.so.2", "libmimalloc.so.2.0"], "libmimalloc2.0"),
    ("tcmalloc", ["libtcmalloc_minimal.so.4"], "libtcmalloc-minimal4"),
    ("tbbmalloc", ["libtbbmalloc_proxy.so.2"], "libtbbmalloc2"),
]


@dataclass
class Allocator:
    name: str
    library: str | None  # None: whatever the system has, nothing is preloaded
    version: str = ""
    environment: dict = field(default_factory=dict)  # variables that configure it

    def preload(self):
        return [self.library] if self.library else []


def library_directories():
    """Where the dynamic linker finds libraries, asked from the linker's cache."""
    found = []
    try:
        cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    except OSError:
        cache = ""
    for line in cache.splitlines():
        if " => " in line:
            directory = os.path.dirname(line.split(" => ")[1].strip())
            if directory not in found:
                found.append(directory)
    return found + ["/usr/local/lib", "/usr/lib64"]


def package_version(path):
    """The Debian package and version a library belongs to, or nothing."""
    for name in (path, os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")):
        try:
            owner = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True)
            if owner.returncode != 0:
                continue
            package = owner.stdout.split(": ")[0].split(",")[0]
            return subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True,
                                  text=True).stdout.strip()
        except OSError:
            return ""
    return ""


def parse_extra(text):
    """NAME=PATH[,VARIABLE=VALUE]... of --allocator."""
    words = [word.partition("=") for word in text.split(",")]
    if not all(left and separator for left, separator, _ in words) or not words[0][2]:
        raise UserError("--allocator wants NAME=/path/to/library.so[,VARIABLE=VALUE], not '%s'" % text)
    name, _, path = words[0]
    if not os.path.isfile(path):
        raise UserError("--allocator %s: there is no file %s" % (name, path))
    environment = {variable: value for variable, _, value in words[1:]}
    version = " ".join([package_version(path)] + [",".join("=".join(item) for item in environment.items())]).strip()
    return Allocator(name, os.path.abspath(path), version, environment)


def discover(library, named):
    """All allocators to compare, those the caller named last, and a list of (what is missing, how to install it)."""
    missing = []
    allocators = [Allocator(GLIBC, None, os.confstr("CS_GNU_LIBC_VERSION"))]
    if library is not None:
        allocators.append(Allocator(OURS, os.path.abspath(library)))
    directories = library_directories()
    for name, files, package in PEERS:
        paths = [os.path.join(d, f) for d in directories for f in files if os.path.isfile(os.path.join(d, f))]
        if paths:
            allocators.append(Allocator(name, paths[0], package_version(paths[0])))
        else:
            missing.append((name, "apt-get install " + package))
    replaced = [extra.name for extra in named]
    return [known for known in allocators if known.name not in replaced] + named, missing
