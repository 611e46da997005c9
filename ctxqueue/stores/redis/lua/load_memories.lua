-- Reads the memories that were written or removed after a number, in order.
-- KEYS  1 m  2 e  3 n  4 l
-- ARGV  1 incarnation  2 number  3 limit  4 bytes to stop after
-- Returns {now} if there are none, else {now, incarnation, 1 if this begins anew, number to go on after, 1 if there is more,
--   id, row or false if it was removed, uses or false, ...}
-- Cost  O(log N + limit)
-- m, e, n, l: see memory.lua.
--@include clock
local m, e, n, l = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head = redis.call('HMGET', m, 'i', 's', 'f', 'k')
local now = digits(clock_now(head[4]))
if not head[1] then return { now } end
local after, number, limit, most = tonumber(ARGV[2]), tonumber(head[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local anew = head[1] ~= ARGV[1] or after < tonumber(head[3]) or after > number
if anew then after = 0 end
local reply = { now, head[1], anew and 1 or 0, head[2], 0 }
local changed = redis.call('ZRANGEBYSCORE', l, '(' .. digits(after), '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local bytes = 0
for i = 1, #changed, 2 do
  if i > 1 and (i > 2 * limit or bytes > most) then
    reply[4], reply[5] = changed[i - 1], 1
    break
  end
  local row = redis.call('HGET', e, changed[i])
  bytes = bytes + (row and #row or 0)
  reply[#reply + 1] = changed[i]
  reply[#reply + 1] = row
  reply[#reply + 1] = row and redis.call('HGET', n, changed[i])
end
return reply
