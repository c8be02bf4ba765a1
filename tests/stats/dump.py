# SPDX-License-Identifier: MIT
"""Reads dumps, as text and as JSON, and recomputes every total from the rows. AssertionError says what is wrong."""

import json
import re

import jsonschema

ARENA_STATES = ("descriptors", "maps", "used", "reserved", "free_dirty", "given_back")


def same(what, found, expected):
    assert found == expected, f"{what}: {found} instead of {expected}"


def check_json(dump, schema):
    """One dump, parsed."""
    jsonschema.validate(dump, schema)
    totals, classes, arenas, heaps = dump["totals"], dump["classes"], dump["arenas"], dump["heaps"]
    for row in classes:
        size = row["block_bytes"]
        same(f"blocks of class {size}", row["blocks_in_use"] + row["blocks_in_magazines"] + row["blocks_free"],
             row["pools"] * row["pool_blocks"])
        same(f"blocks in a pool of class {size}", row["pool_blocks"], 4096 // size)
        for name in ("allocations", "frees", "rounding_bytes"):
            same(f"class {size}: {name} known", row[name] is not None, dump["check"])
        if dump["check"]:
            same(f"class {size} in use", row["allocations"] - row["frees"], row["blocks_in_use"])
    for name, member in (("live_bytes", "blocks_in_use"), ("magazine_bytes", "blocks_in_magazines"),
                         ("free_block_bytes", "blocks_free")):
        same(name, totals[name], sum(row[member] * row["block_bytes"] for row in classes))
    same("remainder_bytes", totals["remainder_bytes"],
         sum(row["pools"] * (4096 - row["pool_blocks"] * row["block_bytes"]) for row in classes))
    for name in ("blocks_refilled", "blocks_flushed", "blocks_flushed_remote", "refills", "flushes"):
        same(name, totals[name], sum(row[name] for row in classes))
    if dump["check"]:
        same("rounding_bytes", totals["rounding_bytes"], sum(row["rounding_bytes"] for row in classes))
    check_arenas(totals, classes, arenas)
    check_heaps(dump, totals, heaps)
    check_account(dump["resident"])


def check_arenas(totals, classes, arenas):
    same("arenas", totals["arenas"], len(arenas))
    same("different arenas", len({arena["address"] for arena in arenas}), len(arenas))
    for arena in arenas:
        same("pools of " + arena["address"], sum(arena["pools_" + state] for state in ARENA_STATES), 64)
        assert arena["taken_bytes"] + arena["free_bytes"] <= 4096 * arena["pools_used"], arena
    for state in ARENA_STATES[1:]:
        same("pools " + state, totals["pools_" + state], sum(arena["pools_" + state] for arena in arenas))
    same("pools of the classes", sum(row["pools"] for row in classes), totals["pools_used"])
    same("free bytes of the arenas", sum(arena["free_bytes"] for arena in arenas), totals["free_block_bytes"])
    same("taken bytes of the arenas", sum(arena["taken_bytes"] for arena in arenas),
         totals["live_bytes"] + totals["magazine_bytes"])
    same("arena_table_bytes", totals["arena_table_bytes"], 4160 * len(arenas))


def check_heaps(dump, totals, heaps):
    same("heaps", totals["heaps"], len(heaps))
    same("heaps parked", totals["heaps_parked"], sum(heap["state"] == "parked" for heap in heaps))
    same("heap_table_bytes", totals["heap_table_bytes"], sum(heap["table_bytes"] for heap in heaps))
    for name, member in (("requests", "system_requests"), ("requested_bytes", "system_requested_bytes"),
                         ("magazine_blocks", "system_magazine_blocks"), ("magazine_bytes", "system_magazine_bytes")):
        same("system " + name, dump["system_allocator"][name], sum(heap[member] for heap in heaps))


def check_account(resident):
    assert resident is not None, "no account of the resident memory"
    same("resident bytes", resident["bytes"], sum(part["bytes"] for part in resident["parts"]))
    assert resident["peak_bytes"] >= resident["bytes"], resident
    same("parts", len({part["part"] for part in resident["parts"]}), 11)
    assert any(part["part"] == "files" and part["bytes"] > 100000 for part in resident["parts"]), resident


def all_json(text):
    """The dumps that follow each other in a text."""
    decoder, dumps, at = json.JSONDecoder(), [], 0
    while at < len(text):
        dump, at = decoder.raw_decode(text, at)
        dumps.append(dump)
        same("what follows a dump", text[at], "\n")
        at += 1
    return dumps


# ---- Text ----

def sections(text):
    """The lines of each section under its heading; the first line is under ''."""
    parts = text.split("\n\n")
    found = {"": parts[0].split("\n")}
    for part in parts[1:]:
        lines = part.rstrip("\n").split("\n")
        found[re.split("[,:;]| of ", lines[0])[0]] = lines[1:]
    return found


def numbers(line):
    return [int(word, 0) for word in line.split() if re.fullmatch("[0-9]+|0x[0-9a-f]+", word)]


def labelled(lines):
    """label -> numbers, in order, of lines as "  label     number unit"."""
    found = {}
    for line in lines:
        match = re.match(r"  (\S.*?)\s{2,}(\d+)(?:\s|$)", line)
        assert match, "no label and number in " + repr(line)
        found.setdefault(match[1], []).append(int(match[2]))
    return found


def check_text(text, pid=None, check=False):
    assert text.endswith("\n") and text.isascii(), "the text has no end, or is not plain"
    for line in text.split("\n"):
        assert len(line) <= 100 and line == line.rstrip(), f"{len(line)} columns: {line!r}"
    part = sections(text)
    match = re.fullmatch(r"poolmalloc (\d+\.\d+\.\d+) statistics of process (\d+)", part[""][0])
    assert match, part[""][0]
    if pid is not None:
        same("process", int(match[2]), pid)
    totals = labelled(part["totals"])
    check_text_classes([numbers(line) for line in part["size classes"][1:]], totals, check)
    check_text_arenas([numbers(line) for line in part.get("arenas", [""])[1:]], totals)
    heaps = [numbers(line) for line in part["heaps"][1:]]
    same("heaps", sum(row[0] for row in heaps), totals["heaps of threads"][0])
    same("heaps parked", sum(numbers(line)[0] for line in part["heaps"][1:] if line.split()[0] == "parked"),
         totals["heaps parked"][0])
    same("requests and bytes to the system allocator", [sum(row[6] for row in heaps), sum(row[7] for row in heaps)],
         totals["to the system allocator"])
    same("its blocks in magazines", sum(row[5] for row in heaps), totals["its blocks in magazines"][0])
    account = labelled(part["resident memory"])
    rest = ("resident together", "resident at most", "swapped out")
    same("resident", sum(value[0] for label, value in account.items() if label not in rest),
         account["resident together"][0])
    assert account["resident at most"] >= account["resident together"]


def check_text_classes(rows, totals, check):
    for row in rows:
        same(f"blocks of class {row[0]}", sum(row[2:5]), row[1] * (4096 // row[0]))
    for column, label in ((2, "in live blocks"), (3, "in magazines"), (4, "in free blocks of used pools")):
        same(label, totals[label][0], sum(row[column] * row[0] for row in rows))
    same("at the ends", totals["at the ends of used pools"][0], sum(row[1] * (4096 % row[0]) for row in rows))
    columns = [(1, "pools used"), (5, "blocks refilled"), (6, "blocks flushed"), (7, "blocks freed by other threads")]
    columns += [(8, "lost to rounding so far")] if check else [(8, "refills"), (9, "flushes")]
    for column, label in columns:
        same(label, totals[label][0], sum(row[column] for row in rows))


def check_text_arenas(rows, totals):
    for row in rows:
        same("pools of " + hex(row[0]), sum(row[2:7]), 64 * row[1])
    for column, label in ((1, "arenas in use"), (2, "pools used"), (3, "pools reserved for a class"),
                          (4, "pools free, memory kept"), (5, "pools free, given back"),
                          (7, "in free blocks of used pools")):
        same(label, totals[label][0], sum(row[column] for row in rows))
