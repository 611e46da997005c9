-- Reads memories by their ids.
-- KEYS  1 e  2 n
-- ARGV  ids
-- Returns {now, row or false, uses or false, ...}; expired ones too.
-- Cost  O(ids)
-- e, n: see memory.lua.
--@include clock
local e, n = KEYS[1], KEYS[2]
local reply = { digits(clock_now(false)) }
for _, id in ipairs(ARGV) do
  reply[#reply + 1] = redis.call('HGET', e, id)
  reply[#reply + 1] = redis.call('HGET', n, id)
end
return reply
