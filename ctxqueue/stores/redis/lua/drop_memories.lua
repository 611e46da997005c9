-- Removes memories; where a number is given, only those that nobody has changed or used since.
-- KEYS  1 m  2 e  3 n  4 l  5 d  6 x  7 a1  8 a2  9 a3  10 u1  11 u2  12 u3
-- ARGV  1 removals to be kept for readers to hear of, then for each 3: id, number (0 any), uses
-- Returns how many were there.
-- Cost  O(ids * log N)
-- m, e, n, l, d, x, a, u: see memory.lua.
--@include clock
--@include memory
local m, e, n, l, d, x = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local head = redis.call('HMGET', m, 's', 'f')
if not head[1] then return 0 end
local doomed, seen = {}, {}
for argument = 2, #ARGV, 3 do
  local id = ARGV[argument]
  local row = not seen[id] and redis.call('HGET', e, id)
  if row then
    local number, _, _, _, kind = stamp_of(row)
    local uses = uses_of(redis.call('HGET', n, id))
    local expected = tonumber(ARGV[argument + 1])
    if expected == 0 or (expected == number and uses == tonumber(ARGV[argument + 2])) then
      seen[id] = true
      doomed[#doomed + 1] = { id, kind }
    end
  end
end
if #doomed == 0 then return 0 end
check_types({}, { l, d, x, KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12] })
if redis.call('HLEN', e) == #doomed then
  redis.call('UNLINK', m, e, n, l, d, x, KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12])
  return #doomed
end
-- One call for all ids of a key: what removing so many costs is mostly the number of calls.
local surplus = redis.call('ZCARD', d) + #doomed - tonumber(ARGV[1])
local number, floor = tonumber(head[1]), tonumber(head[2])
if surplus > 0 then
  local forgotten, ids = redis.call('ZRANGE', d, 0, surplus - 1, 'WITHSCORES'), {}
  for i = 1, #forgotten, 2 do
    ids[#ids + 1] = forgotten[i]
    floor = math.max(floor, tonumber(forgotten[i + 1]))
  end
  if #ids > 0 then
    redis.call('ZREMRANGEBYRANK', d, 0, #ids - 1)
    redis.call('ZREM', l, unpack(ids))
  end
end
local ids, numbered, of_kind = {}, {}, { {}, {}, {} }
for i, each in ipairs(doomed) do
  number = number + 1
  ids[i] = each[1]
  numbered[2 * i - 1], numbered[2 * i] = digits(number), each[1]
  table.insert(of_kind[each[2]], each[1])
end
redis.call('HDEL', e, unpack(ids))
redis.call('HDEL', n, unpack(ids))
redis.call('ZADD', l, unpack(numbered))
redis.call('ZADD', d, unpack(numbered))
redis.call('ZREM', x, unpack(ids))
for i, those in ipairs(of_kind) do
  if #those > 0 then
    redis.call('ZREM', KEYS[AGED + i], unpack(those))
    redis.call('ZREM', KEYS[USED + i], unpack(those))
  end
end
redis.call('HSET', m, 's', digits(number), 'f', digits(floor))
return #doomed
