-- Reads which addresses went so long ago that the log does not tell of it any more, and have values that are kept.
-- KEYS  1 z
-- ARGV  1 revision that they went with at the latest  2 limit
-- Returns {address, ...}, those that went first before the others.
-- Cost  O(log N + limit)
-- z  zset  addresses at which nothing stands any more and that have a list h:<address>, by the revision they went with
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, tonumber(ARGV[2]))
