-- Counts one use of each memory; the same touch again counts none.
-- KEYS  1 e  2 n  3 u1  4 u2  5 u3
-- ARGV  1 touch id, then ids
-- Returns {uses, when last, ...}, both 0 for one that is not there
-- Cost  O(ids * log N)
-- e, n, u: see memory.lua.
--@include clock
--@include memory
local e, n, touch, now = KEYS[1], KEYS[2], ARGV[1], clock_now(false)
local reply, used = {}, {}
for argument = 2, #ARGV do
  local id = ARGV[argument]
  local row = redis.call('HGET', e, id)
  local uses, last, before = uses_of(redis.call('HGET', n, id))
  if not row then
    uses, last = 0, 0
  elseif before ~= touch then
    uses, last = uses + 1, now
    used[#used + 1] = { id, row, uses }
  end
  reply[#reply + 1] = digits(uses)
  reply[#reply + 1] = digits(last)
end
check_types({}, { KEYS[3], KEYS[4], KEYS[5] })
for _, each in ipairs(used) do
  local _, _, created, _, i, flags = stamp_of(each[2])
  redis.call('HSET', n, each[1], struct.pack('>dd', each[3], now) .. touch)
  local u = i == 1 and KEYS[3] or i == 2 and KEYS[4] or KEYS[5]
  if flags % 2 ~= PINNED then redis.call('ZADD', u, use_order(each[3], created), each[1]) end
end
return reply
