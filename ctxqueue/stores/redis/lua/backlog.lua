-- Counts what one shard has yet to do.
-- KEYS  1 due  2 out
-- ARGV  none
-- Returns {now, overdue, when the first of it was due or 0, items in the outbox, from when the first is to be sent or 0}.
-- Cost  O(log N)
-- due, out: see peek.lua and take.lua.
--@include clock
local now = digits(clock_now(0))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
local out = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return { now, redis.call('ZCOUNT', KEYS[1], '-inf', now), due[2] or '0', redis.call('ZCARD', KEYS[2]), out[2] or '0' }
