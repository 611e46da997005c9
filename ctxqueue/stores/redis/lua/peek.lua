-- Reads what is due in one shard, the oldest first.
-- KEYS  1 due
-- ARGV  1 limit
-- Returns {member, score, ...}.
-- Cost  O(log N + limit)
-- due  zset  "<kind>\0\0<workflow>\0\0<detail>", scored by when it is due
--@include clock
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(clock_now(0)), 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[1]))
