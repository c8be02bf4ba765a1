# SPDX-License-Identifier: MIT
"""Builds a structure of small objects, drops it, and reports what stays resident.

Models a long-running Python process that has handled one large request. argv: megabytes to build. Prints the resident
bytes at the top and, after half a second of light work, at the end, less those before.
"""
import gc
import sys
import time


def resident():
    with open("/proc/self/smaps_rollup") as file:
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise SystemExit("no Rss in /proc/self/smaps_rollup")


class Item:
    def __init__(self, index):
        self.index = index
        self.name = "item %d" % index
        self.pair = (index, index * 0.5)
        self.tags = [index % 10, index % 7]


def build(megabytes):
    """About 500 bytes of small objects each."""
    return {index: Item(index) for index in range(megabytes * 2000)}


def main():
    megabytes = int(sys.argv[1])
    before = resident()
    start = time.monotonic()
    items = build(megabytes)
    top = resident()
    checksum = sum(len(item.name) + item.tags[1] for item in items.values())
    del items
    gc.collect()
    spent = time.monotonic() - start
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        [Item(index) for index in range(200)]
        time.sleep(0.001)
    print("time %.6f s" % spent)
    print("top %d B" % (top - before))
    print("held %d B" % max(0, resident() - before))
    print("live 0 B")
    print("checksum %d -" % checksum)


main()
