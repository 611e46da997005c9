-- Conditions in the form that rules/dependencies.py resolves them to:
-- {'e', address...} any address holds an entry; {'p', address...} one that is not sensitive; {'a', part...} all parts;
-- {'o', part...} one part;
-- {'j', address...} whoever is told that one of them was written judges: here it is false.

local SENSITIVE = 4 -- among a stamp's flags

-- Reads which of the addresses hold a fresh entry, into `known` (those already there are left): false, or its flags.
local function learn(known, addresses, v, now)
  local asked = {}
  for _, address in ipairs(addresses) do
    if known[address] == nil then
      known[address] = false
      asked[#asked + 1] = address
    end
  end
  local function note(address, stamp)
    local _, expires = struct.unpack('>dd', stamp)
    known[address] = (expires == 0 or expires > now) and (#stamp == 25 and string.byte(stamp, 17) or 0)
  end
  -- A small hash is one list to the server, gone through for each field: where many are asked for, all of it is read.
  if #asked >= 50 and redis.call('HLEN', v) <= 512 then
    local all, stamps = redis.call('HGETALL', v), {}
    for i = 1, #all, 2 do stamps[all[i]] = all[i + 1] end
    for _, address in ipairs(asked) do
      if stamps[address] then note(address, stamps[address]) end
    end
    return
  end
  for first = 1, #asked, 1000 do
    local last = math.min(first + 999, #asked)
    local stamps = redis.call('HMGET', v, unpack(asked, first, last))
    for i = first, last do
      if stamps[i - first + 1] then note(asked[i], stamps[i - first + 1]) end
    end
  end
end

local function addresses_of(tree, found)
  if tree[1] == 'e' or tree[1] == 'p' or tree[1] == 'j' then
    for i = 2, #tree do found[#found + 1] = tree[i] end
  else
    for i = 2, #tree do addresses_of(tree[i], found) end
  end
  return found
end

local function holds(tree, known)
  if tree[1] == 'j' then return false end
  for i = 2, #tree do
    local truth
    if tree[1] == 'e' then
      truth = known[tree[i]]
    elseif tree[1] == 'p' then
      truth = known[tree[i]] and known[tree[i]] % (2 * SENSITIVE) < SENSITIVE
    else
      truth = holds(tree[i], known)
    end
    if tree[1] == 'a' then
      if not truth then return false end
    elseif truth then
      return true
    end
  end
  return tree[1] == 'a'
end

-- Absent addresses such that a false condition stays false as long as all of them stay absent. Of several missing
-- keys the last is watched: where keys come in their order, the condition is looked at once and not once a key.
local function witness(tree, known, found)
  if tree[1] == 'e' or tree[1] == 'p' or tree[1] == 'j' then return addresses_of(tree, found) end
  for i = #tree, 2, -1 do
    if not holds(tree[i], known) then
      witness(tree[i], known, found)
      if tree[1] == 'a' then return found end
    end
  end
  return found
end

-- Ordinals, from 0, of the leaves that are false; of a judged one nothing is known.
local function unmet(tree, known, found, ordinal)
  if tree[1] == 'j' then return ordinal end
  if tree[1] == 'e' or tree[1] == 'p' then
    if not holds(tree, known) then found[#found + 1] = ordinal end
    return ordinal + 1
  end
  for i = 2, #tree do ordinal = unmet(tree[i], known, found, ordinal) end
  return ordinal
end
