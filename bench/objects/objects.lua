-- SPDX-License-Identifier: MIT
-- objects.lua CASE SIZE [PARAMETER]: the object benchmarks in Lua 5.4. The graphs are those of graphs.c; a node is a
-- table with two elements, since that is how Lua keeps two references.
local clock = os.clock
local format = string.format

local function each(seconds, operations)
  print(format("each %.6f ns", seconds * 1e9 / operations))
end

local function checksum(value)
  print(format("checksum %d -", value))
end

local state = 42
local function random()
  state = state * 48271 % 2147483647
  return state
end

local cases = {}

local function build(depth)
  if depth == 0 then return {false, false} end
  return {build(depth - 1), build(depth - 1)}
end

local function check(node)
  return node[1] and 1 + check(node[1]) + check(node[2]) or 1
end

function cases.trees(depth)
  local start = clock()
  local nodes = check(build(depth + 1))
  local lasting = build(depth)
  for small = 4, depth, 2 do
    for _ = 1, 1 << (depth - small + 4) do nodes = nodes + check(build(small)) end
  end
  nodes = nodes + check(lasting)
  each(clock() - start, nodes)
  checksum(nodes)
end

local gcbench_nodes = 0
local function tree(left, right)
  gcbench_nodes = gcbench_nodes + 1
  return {left or false, right or false, 0, 0}
end

local function populate(depth, node)
  if depth <= 0 then return end
  node[1] = tree()
  node[2] = tree()
  populate(depth - 1, node[1])
  populate(depth - 1, node[2])
end

local function from_below(depth)
  if depth <= 0 then return tree() end
  return tree(from_below(depth - 1), from_below(depth - 1))
end

function cases.gcbench(stretch)
  local start = clock()
  from_below(stretch)
  local lasting = tree()
  populate(stretch - 2, lasting)
  local numbers = {}
  for i = 1, 500000 do numbers[i] = 1.0 / i end
  for depth = 4, stretch - 2, 2 do
    local times = 2 * ((2 << stretch) - 1) // ((2 << depth) - 1)
    for _ = 1, times do populate(depth, tree()) end
    for _ = 1, times do from_below(depth) end
  end
  each(clock() - start, gcbench_nodes)
  checksum(gcbench_nodes)
  return lasting, numbers
end

function cases.list(total, length)
  local walked = 0
  local start = clock()
  for _ = 1, total // length do
    local first = false
    for _ = 1, length do first = {false, first} end
    local node = first
    while node do
      walked = walked + 1
      node = node[2]
    end
  end
  each(clock() - start, total)
  checksum(walked)
end

local json_values = 0
local function json_build(depth)
  json_values = json_values + 1
  local dice = random()
  local value = {next = false, child = false, text = dice % 3 == 0 and "some text " .. dice, number = dice + 0.0}
  if depth > 0 then
    for _ = 1, 8 do
      local child = json_build(depth - 1)
      child.next = value.child
      value.child = child
    end
  end
  return value
end

local function json_edit(value, depth)
  if depth == 2 then
    if random() % 5 == 0 then
      local fresh = json_build(1)
      fresh.next = value.child.next
      value.child = fresh
    end
    return
  end
  local child = value.child
  while child do
    json_edit(child, depth - 1)
    child = child.next
  end
end

function cases.json(documents, depth)
  local start = clock()
  for _ = 1, documents do json_edit(json_build(depth), depth) end
  each(clock() - start, json_values)
  checksum(json_values)
end

function cases.flood(size)
  local start = clock()
  local held = {}
  for i = 1, size do held[i] = {held[i // 2] or false, false} end
  for _ = 1, 2 do
    for i = 1, size do local same = held[i] end
  end
  held = nil
  collectgarbage()
  each(clock() - start, size)
end

function cases.growth(size)
  local start, first = clock(), 0
  local held = {}
  for i = 1, size do
    held[i] = {held[i // 2] or false, false}
    if i == size // 2 then first = clock() - start end
  end
  local last = clock() - start
  each(last, size)
  print(format("second-half %.4f ratio", (last - first) / first))
  os.exit(0, false)
end

function cases.full(size, at_random)
  collectgarbage("stop")
  local nodes = {}
  for i = 1, size do nodes[i] = {false, false} end
  if at_random ~= 0 then
    for i = size, 2, -1 do
      local other = random() % i + 1
      nodes[i], nodes[other] = nodes[other], nodes[i]
    end
  end
  for i = 1, size - 1 do nodes[i][2] = nodes[i + 1] end
  local root = nodes[1]
  nodes = nil
  collectgarbage()
  local start = clock()
  local times = size > 2000000 and 1 or 3
  for _ = 1, times do collectgarbage() end
  each((clock() - start) / times, size)
  os.exit(root and 0, false)
end

function cases.rings(total, length)
  local start = clock()
  for _ = 1, total // length do
    local first = {false, false}
    local last = first
    for _ = 2, length do
      last[2] = {false, false}
      last = last[2]
    end
    last[2] = first
  end
  collectgarbage()
  each(clock() - start, total)
end

function cases.hub(total, spokes)
  local center = {}
  for i = 1, spokes do center[i] = {center, false} end
  local start = clock()
  for _ = 1, total // 2 do
    local one = {center, {false, false}}
    one[2][2] = one
  end
  collectgarbage()
  each(clock() - start, total)
end

function cases.request(total)
  local window, sum = {}, 0
  local start = clock()
  for i = 1, total do
    local ring = {}
    for k = 1, 5 do ring[k] = {payload = string.rep("x", 9990) .. i * 5 + k} end
    for k = 1, 5 do
      ring[k].next = ring[k % 5 + 1]
      ring[k].back = ring[(k + 3) % 5 + 1]
    end
    sum = sum + (ring[1].next.payload:byte(7) == 120 and 1 or 0)
    window[i % 100] = ring[1]
  end
  each(clock() - start, total)
  checksum(sum)
end

function cases.intern(size, hits)
  local held, found = {}, 0
  for i = 0, 9999 do held[i] = "word" .. i end
  local start = clock()
  for i = 0, size - 1 do
    local which = random()
    if which % 100 < hits then
      local k = which // 100 % 10000
      if "word" .. k == held[k] then found = found + 1 end
    else
      local _ = "fresh" .. i
    end
  end
  each(clock() - start, size)
  checksum(found)
end

function cases.finalize(size, in_rings)
  local finalized = 0
  local meta = {__gc = function() finalized = finalized + 1 end}
  local start = clock()
  for _ = 1, size // 2 do
    local one, other = setmetatable({false, false}, meta), setmetatable({false, false}, meta)
    if in_rings ~= 0 then one[1], other[1] = other, one end
  end
  collectgarbage()
  each(clock() - start, size)
  checksum(finalized)
end

local function pair(ring)
  local one = {false, {false, false}}
  if ring then one[2][2] = one end
  return one
end

-- os.clock is the process's time, in microseconds.
function cases.pauses(size, percent)
  local slots = size // 2
  local count = math.max(slots, 1000000) // 10
  local held, steps = {}, {}
  for i = 0, slots - 1 do held[i] = pair(random() % 100 < percent) end
  for i = 1, count do steps[i] = 0.0 end
  local begin = clock()
  local start = begin
  for i = 1, count do
    for _ = 1, 10 do
      local slot = random() % slots
      held[slot] = pair(random() % 100 < percent)
    end
    local stop = clock()
    steps[i] = stop - start
    start = stop
  end
  each(clock() - begin, count * 10)
  table.sort(steps)
  print(format("p50 %.3f us\np99 %.3f us\np999 %.3f us\nlongest %.3f us", steps[count // 2] * 1e6,
    steps[count - count // 100] * 1e6, steps[count - count // 1000] * 1e6, steps[count] * 1e6))
  os.exit(0, false)
end

if #arg == 1 and arg[1] == "--list" then
  for name in pairs(cases) do print(name) end
elseif (#arg == 2 or #arg == 3) and cases[arg[1]] then
  cases[arg[1]](math.tointeger(arg[2]), math.tointeger(arg[3] or 0))
else
  io.stderr:write("usage: objects.lua --list | CASE SIZE [PARAMETER]\n")
  os.exit(2)
end
