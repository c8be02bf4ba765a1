# SPDX-License-Identifier: MIT
"""Builds a document of nested lists and dictionaries, writes it as JSON, parses it again, and walks it.

Models a Python service or script whose data are small objects: dictionaries, strings, integers and floats by the
hundred thousand. The document is the same in every run; a digest of its text is printed. With PYTHONMALLOC=malloc every
object is a malloc block; with Python's own allocator only what is larger than 512 bytes is.
"""
import gc
import hashlib
import json
import sys


def numbers(seed):
    """A linear congruential generator (Knuth's MMIX constants): the same on every version of Python."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


def record(index, source):
    return {
        "id": index,
        "name": "name-%d-%d" % (index, next(source) % 1000),
        "tags": ["tag%d" % (next(source) % 50) for _ in range(next(source) % 6)],
        "position": {"x": next(source) / 1000, "y": next(source) / 1000},
        "parent": next(source) % (index + 1) if index % 3 else None,
        "values": [next(source) % 100000 for _ in range(4)],
    }


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    source = numbers(1)
    document = [record(index, source) for index in range(count)]
    text = json.dumps(document)
    total = 0
    for _ in range(rounds):
        parsed = json.loads(text)
        gc.collect()
        total += sum(len(item["tags"]) + sum(item["values"]) for item in parsed)
        by_name = {item["name"]: item for item in parsed}
        total += len(by_name)
    assert json.dumps(parsed) == text
    print(hashlib.sha256(text.encode()).hexdigest(), total)


main()
