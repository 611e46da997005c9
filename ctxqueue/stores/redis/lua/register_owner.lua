-- Enters an owner of memories in the namespace's list, or notes that it is in use.
-- KEYS  1 memory
-- ARGV  1 name
-- Returns nothing.
-- Cost  O(log N)
-- memory  zset  names of owners by when they were last registered
--@include clock
redis.call('ZADD', KEYS[1], digits(clock_now(false)), ARGV[1])
