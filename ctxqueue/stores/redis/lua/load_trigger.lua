-- Reads a trigger.
-- KEYS  1 j  2 t  3 m
-- ARGV  1 trigger
-- Returns {trigger, state, reason, record} or nothing.
-- Cost  O(1)
--@include clock
--@include triggers
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return false end
return trigger_of(KEYS[3], KEYS[2], ARGV[1], packed)
