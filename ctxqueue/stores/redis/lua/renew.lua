-- Lengthens an attempt's lease.
-- KEYS  1 run's record
-- ARGV  1 epoch  2 lease us
-- Returns 1, or 0 if the attempt was superseded or has ended.
-- Cost  O(1)
--@include clock
local found = redis.call('HMGET', KEYS[1], 'e', 's')
if found[1] ~= ARGV[1] or found[2] ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'l', digits(clock_now(0) + tonumber(ARGV[2])))
return 1
