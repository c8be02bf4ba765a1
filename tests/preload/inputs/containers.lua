-- SPDX-License-Identifier: MIT
--
-- Tables, strings, closures and coroutines in sizes around the pools' upper bound. All output is independent of
-- addresses and of the order in which tables are walked.

-- A small generator of its own: math.random is seeded from an address.
local state = 12345
local function random(limit)
    state = (state * 1103515245 + 12345) % 2147483648
    return state // 65536 % limit + 1
end

local function checksum(text)
    local a, b = 1, 0
    for i = 1, #text do
        a = (a + text:byte(i)) % 65521
        b = (b + a) % 65521
    end
    return string.format("%04x%04x", b, a)
end

-- Slots replaced at random: strings of up to 700 bytes, so that some come from the pools and some do not.
local slots = {}
for i = 1, 150000 do
    slots[random(20000)] = string.rep(string.char(random(26) + 96), random(700)) .. i
end
local sizes, sums = 0, {}
for i = 1, 20000 do
    local text = slots[i] or ""
    sizes = sizes + #text
    if i % 400 == 0 then sums[#sums + 1] = checksum(text) end
end
print("slots", sizes, checksum(table.concat(sums)))

-- Records in linked lists, sorted by a comparator that allocates.
local records = {}
for i = 1, 30000 do
    records[i] = { key = random(30000), id = i, tags = { "t" .. i % 7, "u" .. i % 11 } }
end
table.sort(records, function(a, b)
    local left, right = string.format("%08d%08d", a.key, a.id), string.format("%08d%08d", b.key, b.id)
    return left < right
end)
local order = {}
for i = 1, #records, 20 do order[#order + 1] = records[i].id .. records[i].tags[2] end
print("records", #records, checksum(table.concat(order, ",")))

-- Coroutines as producers; each has a stack of its own.
local producers = {}
for i = 1, 2000 do
    producers[i] = coroutine.wrap(function()
        local history = {}
        for step = 1, 10 do
            history[step] = i .. ":" .. step
            coroutine.yield(history[random(step)])
        end
        return table.concat(history, " ")
    end)
end
local produced = {}
for step = 1, 11 do
    for i = 1, #producers do produced[#produced + 1] = producers[i]() end
end
print("coroutines", #produced, checksum(table.concat(produced, " ", 1, 4000)), checksum(produced[#produced]))

-- Patterns and buffers that grow by reallocation.
local text = string.rep("the quick brown fox jumps over the lazy dog; ", 2000)
local words = {}
local counted = text:gsub("%a+", function(word)
    words[word] = (words[word] or 0) + 1
    return word:upper():reverse()
end)
local names = {}
for word, count in pairs(words) do names[#names + 1] = word .. "=" .. count end
table.sort(names)
print("patterns", checksum(counted:sub(-9000)), table.concat(names, " "))

-- The collector frees what became unreachable, with finalizers run on the way.
local finalized = 0
for _ = 1, 20000 do
    setmetatable({}, { __gc = function() finalized = finalized + 1 end })
end
slots, records, producers = nil, nil, nil
collectgarbage()
collectgarbage()
print("finalized", finalized)
