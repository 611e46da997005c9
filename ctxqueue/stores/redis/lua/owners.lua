-- Reads the names of owners that were registered since an instant.
-- KEYS  1 memory
-- ARGV  1 instant
-- Returns {now, name, ...}
-- Cost  O(log N + names)
-- memory: see register_owner.lua.
--@include clock
local reply = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')
table.insert(reply, 1, digits(clock_now(false)))
return reply
