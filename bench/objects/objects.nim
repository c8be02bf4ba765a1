# SPDX-License-Identifier: MIT
# objects-nim CASE SIZE [PARAMETER]: a few of the object benchmarks in Nim with --mm:orc. The graphs are those of graphs.c.
import std/[os, strutils, strformat, times]

type Node = ref object
  left, right: Node

proc each(seconds: float, operations: int) =
  echo &"each {seconds * 1e9 / float(operations):.6f} ns"

proc build(depth: int): Node =
  if depth == 0: Node() else: Node(left: build(depth - 1), right: build(depth - 1))

proc check(node: Node): int =
  if node.left == nil: 1 else: 1 + check(node.left) + check(node.right)

proc trees(depth, unused: int) =
  let start = cpuTime()
  var nodes = check(build(depth + 1))
  let lasting = build(depth)
  for small in countup(4, depth, 2):
    for i in 1 .. (1 shl (depth - small + 4)):
      nodes += check(build(small))
  nodes += check(lasting)
  each(cpuTime() - start, nodes)
  echo "checksum ", nodes, " -"

proc list(total, length: int) =
  var walked = 0
  let start = cpuTime()
  for i in 1 .. total div length:
    var first: Node = nil
    for k in 1 .. length:
      first = Node(right: first)
    var node = first
    while node != nil:
      inc walked
      node = node.right
  each(cpuTime() - start, total)
  echo "checksum ", walked, " -"

proc ring(length: int) =
  let first = Node()
  var last = first
  for i in 2 .. length:
    last.right = Node()
    last = last.right
  last.right = first

proc rings(total, length: int) =
  let start = cpuTime()
  for i in 1 .. total div length:
    ring(length)
  GC_fullCollect()
  each(cpuTime() - start, total)

proc main() =
  let words = commandLineParams()
  let parameter = if words.len > 2: parseInt(words[2]) else: 0
  case words[0]
  of "trees": trees(parseInt(words[1]), parameter)
  of "list": list(parseInt(words[1]), parameter)
  of "rings": rings(parseInt(words[1]), parameter)
  else: quit("usage: objects-nim CASE SIZE [PARAMETER]", 2)

main()
