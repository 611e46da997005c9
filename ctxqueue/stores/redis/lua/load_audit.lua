-- Reads records of a shard's audit log.
-- KEYS  1 audit
-- ARGV  1 from where on, as XRANGE has it  2 limit
-- Returns what XRANGE returns.
-- Cost  O(limit)
-- audit: see recording.lua.
return redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
