-- SPDX-License-Identifier: MIT
--
-- Builds and drops binary trees of tables while one long-lived tree stays, and fills a table with strings.
--
-- Models a script in an embedded interpreter: every table and every string is one or two malloc blocks, and the
-- collector frees them in the order it finds them. After the binary-trees program of the Computer Language Benchmarks
-- Game, with strings added because scripts are full of them.

local depth = tonumber(arg[1]) or 14

local function build(levels, value)
    if levels == 0 then
        return { value = value }
    end
    return { left = build(levels - 1, 2 * value), right = build(levels - 1, 2 * value + 1), value = value }
end

local function sum(tree)
    if not tree.left then
        return tree.value
    end
    return sum(tree.left) + tree.value - sum(tree.right)
end

local long_lived = build(depth, 1)
local total = 0
for levels = 4, depth, 2 do
    for i = 1, 1 << (depth - levels) do
        total = total + sum(build(levels, i))
    end
end

local words, seen = {}, {}
local seed = 42
for i = 1, 40 << (depth // 2) do
    seed = (seed * 1103515245 + 12345) % 2147483648
    local word = "word-" .. seed % 20000 .. "-" .. i % 7
    seen[word] = (seen[word] or 0) + 1
    words[#words + 1] = word .. "/" .. seen[word]
end
local text = table.concat(words, ",")
local pieces = 0
for piece in text:gmatch("[^,]+") do
    pieces = pieces + #piece
end
print(total, sum(long_lived), #words, #text, pieces)
