-- Puts a dead letter back to be tried, or drops it.
-- KEYS  1 m  2 u  3 q  4 i  5 d  6 due  7 journal  8 n
-- ARGV  1 workflow  2 id  3 1 to drop it
-- Returns 1, or 0 if there is no such dead letter.
-- Cost  O(log N)
--@include clock
--@include inbox
local m, u, q, i, d, due, journal, n = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local workflow, id = ARGV[1], ARGV[2]
local head = redis.call('HMGET', m, 'k', 'qo')
local stored = redis.call('HGET', u, id)
local member = redis.call('ZRANGEBYLEX', d, '[' .. id .. '\0\0\0', '(' .. id .. '\0\0\1', 'LIMIT', 0, 1)[1]
redis.call('LLEN', q)
redis.call('ZCARD', i)
redis.call('ZCARD', due)
redis.call('HLEN', journal)
redis.call('HLEN', n)
if not member or not stored then return 0 end
local now = clock_now(head[1])
redis.call('ZREM', d, member)
redis.call('HDEL', n, id) -- messages that came late were counted
if ARGV[3] == '1' then
  redis.call('HDEL', u, id)
  return 1
end
redis.call('HDEL', journal, 'f:')
if head_and_payload(stored)[2] == 1 then
  redis.call('RPUSH', q, id)
  if not head[2] then announce(m, due, workflow, now) end
else
  redis.call('ZADD', i, digits(now), id)
  redis.call('ZADD', due, digits(now), inbox_member('updates', workflow))
end
return 1
