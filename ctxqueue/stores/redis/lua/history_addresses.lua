-- Reads the addresses of which values are kept.
-- KEYS  1 a
-- ARGV  1 lower bound (ZRANGEBYLEX form)  2 limit
-- Returns {address, ...}.
-- Cost  O(log N + limit)
-- a  zset, all scores 0  the addresses that have a list h:<address>
return redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, tonumber(ARGV[2]))
