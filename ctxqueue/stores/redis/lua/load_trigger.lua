-- Reads a trigger.
-- KEYS  1 j  2 t
-- ARGV  1 trigger
-- Returns {trigger, state, reason, record} or nothing.
-- Cost  O(1)
--@include triggers
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return false end
return trigger_of(KEYS[2], ARGV[1], packed)
