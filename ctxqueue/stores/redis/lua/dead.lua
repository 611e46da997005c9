-- Reads dead letters in the order of their ids.
-- KEYS  1 m  2 d
-- ARGV  1 where to begin  2 limit
-- Returns {1 if there is the workflow, else 0, "<id>\0\0\0<what is known of it>", ...}
-- Cost  O(limit + log N)
-- d: see inbox.lua.
local found = redis.call('HMGET', KEYS[1], 'i', 'y')
local members = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
return { found[1] and not found[2] and 1 or 0, unpack(members) }
