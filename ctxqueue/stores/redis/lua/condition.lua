-- Conditions in the form that rules/dependencies.py resolves them to:
-- {'e', address...} any address holds an entry; {'a', part...} all parts; {'o', part...} one part.

-- Reads which of the addresses hold a fresh entry, into `known` (those already there are left).
local function learn(known, addresses, v, now)
  for first = 1, #addresses, 1000 do
    local last = math.min(first + 999, #addresses)
    local stamps = redis.call('HMGET', v, unpack(addresses, first, last))
    for i = first, last do
      if known[addresses[i]] == nil then
        local stamp = stamps[i - first + 1]
        local _, expires = 0, 0
        if stamp then _, expires = struct.unpack('>dd', stamp) end
        known[addresses[i]] = stamp and (expires == 0 or expires > now) or false
      end
    end
  end
end

local function addresses_of(tree, found)
  if tree[1] == 'e' then
    for i = 2, #tree do found[#found + 1] = tree[i] end
  else
    for i = 2, #tree do addresses_of(tree[i], found) end
  end
  return found
end

local function holds(tree, known)
  for i = 2, #tree do
    local truth
    if tree[1] == 'e' then truth = known[tree[i]] else truth = holds(tree[i], known) end
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
  if tree[1] == 'e' then return addresses_of(tree, found) end
  for i = #tree, 2, -1 do
    if not holds(tree[i], known) then
      witness(tree[i], known, found)
      if tree[1] == 'a' then return found end
    end
  end
  return found
end

-- Ordinals, from 0, of the leaves that are false.
local function unmet(tree, known, found, ordinal)
  if tree[1] == 'e' then
    if not holds(tree, known) then found[#found + 1] = ordinal end
    return ordinal + 1
  end
  for i = 2, #tree do ordinal = unmet(tree[i], known, found, ordinal) end
  return ordinal
end
