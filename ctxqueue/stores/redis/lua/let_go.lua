-- Lets go of an inbox.
-- KEYS  1 m  2 due
-- ARGV  1 workflow  2 drain
-- Returns 1, or 0 if this drain does not hold it.
-- Cost  O(log N)
--@include clock
--@include inbox
local head = redis.call('HMGET', KEYS[1], 'k', 'qo')
redis.call('ZCARD', KEYS[2])
if head[2] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'qo', 'ql')
announce(KEYS[1], KEYS[2], ARGV[1], clock_now(head[1]))
return 1
