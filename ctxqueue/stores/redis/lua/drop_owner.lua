-- Takes an owner's name off the list, unless it was registered lately.
-- KEYS  1 memory
-- ARGV  1 name  2 us that it must not have been in use
-- Returns 1 or 0.
-- Cost  O(log N)
-- memory: see register_owner.lua.
--@include clock
local registered = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not registered or tonumber(registered) > clock_now(false) - tonumber(ARGV[2]) then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
