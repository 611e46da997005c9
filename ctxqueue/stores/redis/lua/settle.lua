-- Removes published outbox items.
-- KEYS  1 out  2 msg
-- ARGV  items
-- Cost  O(items * log N)
redis.call('HLEN', KEYS[2])
redis.call('ZREM', KEYS[1], unpack(ARGV))
redis.call('HDEL', KEYS[2], unpack(ARGV))
