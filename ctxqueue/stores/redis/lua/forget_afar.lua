-- Removes a run of another workflow from addresses of this one.
-- KEYS  1 w  2 due
-- ARGV  1 workflow  2 watcher  then the addresses
-- Returns 1.
-- Cost  O(addresses * log waiters)
redis.call('ZCARD', KEYS[2])
for i = 3, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i] .. '\0\0' .. ARGV[2]) end
redis.call('ZREM', KEYS[2], 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 1
