-- Removes expired entries of one workflow. Whoever wrote an address again meanwhile has moved its expiry.
-- KEYS  1 m  2 e  3 v  4 x  5 k  6 due
-- ARGV  1 workflow  2 commit id  3 limit
-- Returns {expired, kept, 1 if more is due}; kept: nothing was due any more.
-- Cost  O(limit * log N)
--@include clock
local m, e, v, x, k, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local member = 'expiry\0\0' .. ARGV[1] .. '\0\0'
local head = redis.call('HMGET', m, 'r', 'k', 'f', 'b')
if not head[1] then
  redis.call('ZREM', due, member)
  return { 0, 0, 0 }
end
local now = clock_now(head[2])
local expired = redis.call('ZRANGEBYSCORE', x, '-inf', digits(now), 'LIMIT', 0, tonumber(ARGV[3]))
local stamps = #expired > 0 and redis.call('HMGET', v, unpack(expired)) or {}
local floor, bytes = tonumber(head[3]), tonumber(head[4])
for i, address in ipairs(expired) do
  bytes = bytes - redis.call('HSTRLEN', e, address)
  if stamps[i] then floor = math.max(floor, (struct.unpack('>d', stamps[i]))) end
end
redis.call('ZCARD', k)
redis.call('ZCARD', due)

if #expired > 0 then
  redis.call('HDEL', e, unpack(expired))
  redis.call('HDEL', v, unpack(expired))
  redis.call('ZREM', k, unpack(expired))
  redis.call('ZREM', x, unpack(expired))
  redis.call('HSET', m, 'r', digits(tonumber(head[1]) + 1), 'c', ARGV[2], 'k', digits(now),
    'f', digits(floor), 'b', digits(bytes))
end
local next_expiry = redis.call('ZRANGE', x, 0, 0, 'WITHSCORES')[2]
if next_expiry then
  redis.call('ZADD', due, next_expiry, member)
else
  redis.call('ZREM', due, member)
end
return { #expired, #expired == 0 and 1 or 0, next_expiry and tonumber(next_expiry) <= now and 1 or 0 }
