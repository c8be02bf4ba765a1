#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""objects.py CASE SIZE [PARAMETER]: the object benchmarks in CPython. The graphs are those of graphs.c."""
import gc
import os
import sys
import time
import weakref

cpu = time.process_time


class Node:
    __slots__ = ("left", "right", "__weakref__")

    def __init__(self, left=None, right=None):
        self.left = left
        self.right = right


class Plain:  # without room for weak references: two references and nothing else
    __slots__ = ("left", "right")

    def __init__(self, left=None, right=None):
        self.left = left
        self.right = right


class Tree:
    __slots__ = ("left", "right", "i", "j")

    def __init__(self, left=None, right=None):
        self.left = left
        self.right = right
        self.i = self.j = 0


class Value:
    __slots__ = ("next", "child", "text", "number")


class Request:
    __slots__ = ("next", "back", "payload")


def each(seconds, operations, name="each"):
    print("%s %.6f ns" % (name, seconds * 1e9 / operations))


def checksum(value):
    print("checksum %d -" % value)


class Random:
    def __init__(self):
        self.state = 42

    def __call__(self):
        self.state = self.state * 48271 % 2147483647
        return self.state


def build(depth):
    if depth == 0:
        return Plain()
    return Plain(build(depth - 1), build(depth - 1))


def check(node):
    return 1 if node.left is None else 1 + check(node.left) + check(node.right)


def trees(depth, _):
    start = cpu()
    nodes = check(build(depth + 1))
    lasting = build(depth)
    for small in range(4, depth + 1, 2):
        for _ in range(1 << (depth - small + 4)):
            nodes += check(build(small))
    nodes += check(lasting)
    each(cpu() - start, nodes)
    checksum(nodes)


gcbench_nodes = 0


def tree(left=None, right=None):
    global gcbench_nodes
    gcbench_nodes += 1
    return Tree(left, right)


def populate(depth, node):
    if depth > 0:
        node.left = tree()
        node.right = tree()
        populate(depth - 1, node.left)
        populate(depth - 1, node.right)


def from_below(depth):
    return tree() if depth <= 0 else tree(from_below(depth - 1), from_below(depth - 1))


def gcbench(stretch, _):
    start = cpu()
    from_below(stretch)
    lasting = tree()
    populate(stretch - 2, lasting)
    numbers = [1.0 / (i + 1) for i in range(500000)]
    for depth in range(4, stretch - 1, 2):
        times = 2 * ((2 << stretch) - 1) // ((2 << depth) - 1)
        for _ in range(times):
            populate(depth, tree())
        for _ in range(times):
            from_below(depth)
    del numbers, lasting
    each(cpu() - start, gcbench_nodes)
    checksum(gcbench_nodes)


def linked_list(total, length):
    walked = 0
    start = cpu()
    for _ in range(total // length):
        first = None
        for _ in range(length):
            first = Plain(None, first)
        node = first
        while node is not None:
            walked += 1
            node = node.right
    each(cpu() - start, total)
    checksum(walked)


json_values = 0


def json_build(depth, random):
    global json_values
    json_values += 1
    value = Value()
    value.next = value.child = None
    dice = random()
    value.number = float(dice)
    value.text = "some text %d" % dice if dice % 3 == 0 else None
    if depth > 0:
        for _ in range(8):
            child = json_build(depth - 1, random)
            child.next = value.child
            value.child = child
    return value


def json_edit(value, depth, random):
    if depth == 2:
        if random() % 5 == 0:
            fresh = json_build(1, random)
            fresh.next = value.child.next
            value.child = fresh
        return
    child = value.child
    while child is not None:
        json_edit(child, depth - 1, random)
        child = child.next


def json(documents, depth):
    random = Random()
    start = cpu()
    for _ in range(documents):
        json_edit(json_build(depth, random), depth, random)
    each(cpu() - start, json_values)
    checksum(json_values)


def grow(size):
    held = [None] * size
    for i in range(size):
        held[i] = Plain(held[i // 2] if i else None)
    return held


def flood(size, _):
    start = cpu()
    held = grow(size)
    for _ in range(2):
        for same in held:
            pass
    del same
    while held:
        held.pop()
    each(cpu() - start, size)


def growth(size, _):
    held = [None] * size
    start = cpu()
    for i in range(size):
        held[i] = Plain(held[i // 2] if i else None)
        if i + 1 == size // 2:
            first = cpu() - start
    last = cpu() - start
    each(last, size)
    print("second-half %.4f ratio" % ((last - first) / first))
    gc.disable()
    while held:
        held.pop()


def full(size, at_random):
    gc.disable()
    nodes = [Plain() for _ in range(size)]
    if at_random:
        random = Random()
        for i in range(size - 1, 0, -1):
            other = random() % (i + 1)
            nodes[i], nodes[other] = nodes[other], nodes[i]
    for i in range(size - 1):
        nodes[i].right = nodes[i + 1]
    root = nodes[0]
    del nodes
    gc.collect()
    start = cpu()
    times = 1 if size > 2000000 else 3
    for _ in range(times):
        gc.collect()
    each((cpu() - start) / times, size)
    sys.stdout.flush()
    os._exit(0 if root else 1)  # what takes the list apart is not measured


def rings(total, length):
    start = cpu()
    for _ in range(total // length):
        first = last = Plain()
        for _ in range(length - 1):
            last.right = Plain()
            last = last.right
        last.right = first
    del first, last
    gc.collect()
    each(cpu() - start, total)


def hub(total, spokes):
    center = []
    for _ in range(spokes):
        center.append(Plain(center))
    start = cpu()
    for _ in range(total // 2):
        one = Plain(center, Plain())
        one.right.right = one
    gc.collect()
    each(cpu() - start, total)


def request(total, _):
    window = [None] * 100
    payload = b"\1" * 1000
    total_sum = 0
    start = cpu()
    for i in range(total):
        ring = [Request() for _ in range(5)]
        for k, one in enumerate(ring):
            one.payload = bytearray(10000)
            one.payload[:1000] = payload
            one.next = ring[(k + 1) % 5]
            one.back = ring[(k + 4) % 5]
        total_sum += ring[0].next.payload[7]
        window[i % 100] = ring[0]
    each(cpu() - start, total)
    checksum(total_sum)


def intern(size, hits):
    random = Random()
    texts = ["word%d" % i for i in range(10000)]
    held = [sys.intern(text[:2] + text[2:]) for text in texts]
    found = 0
    start = cpu()
    for i in range(size):
        which = random()
        if which % 100 < hits:
            k = which // 100 % 10000
            found += sys.intern("word%d" % k) is held[k]
        else:
            sys.intern("fresh%d" % i)
    each(cpu() - start, size)
    checksum(found)


def weak(size, _):
    alive = 0
    start = cpu()
    for _ in range(size):
        node = Node()
        reference = weakref.ref(node)
        alive += reference() is not None
        del node
        alive += reference() is not None
    each(cpu() - start, size)
    checksum(alive)


def weak_get(size, _):
    node = Node()
    reference = weakref.ref(node)
    start = cpu()
    for _ in range(size):
        reference()
    each(cpu() - start, size)


finalized = 0


class Finalized(Plain):
    __slots__ = ()

    def __del__(self):
        global finalized
        finalized += 1


def finalize(size, in_rings):
    start = cpu()
    for _ in range(size // 2):
        one, other = Finalized(), Finalized()
        if in_rings:
            one.left = other
            other.left = one
    del one, other
    gc.collect()
    each(cpu() - start, size)
    checksum(finalized)


def pair(ring):
    one = Plain(None, Plain())
    if ring:
        one.right.right = one
    return one


def pauses(size, percent):
    slots = size // 2
    count = max(slots, 1000000) // 10
    random = Random()
    held = [pair(random() % 100 < percent) for _ in range(slots)]
    steps = [0] * count
    clock = time.thread_time_ns
    begin = cpu()
    start = clock()
    for i in range(count):
        for _ in range(10):
            held[random() % slots] = pair(random() % 100 < percent)
        end = clock()
        steps[i] = end - start
        start = end
    each(cpu() - begin, count * 10)
    steps.sort()
    print("p50 %.3f us\np99 %.3f us\np999 %.3f us\nlongest %.3f us" % (
        steps[count // 2] * 1e-3, steps[count - count // 100] * 1e-3, steps[count - count // 1000] * 1e-3,
        steps[-1] * 1e-3))


CASES = {"trees": trees, "gcbench": gcbench, "list": linked_list, "json": json, "flood": flood, "growth": growth,
         "full": full, "rings": rings, "hub": hub, "request": request, "intern": intern, "weak": weak,
         "weak-get": weak_get, "finalize": finalize, "pauses": pauses}


def main(words):
    if words == ["--list"]:
        print("\n".join(CASES))
        return 0
    if len(words) not in (2, 3) or words[0] not in CASES:
        print("usage: objects.py --list | CASE SIZE [PARAMETER]", file=sys.stderr)
        return 2
    sys.setrecursionlimit(10000)
    CASES[words[0]](int(words[1]), int(words[2]) if len(words) == 3 else 0)
    return 0


sys.exit(main(sys.argv[1:]))
