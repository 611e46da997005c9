-- Removes a run of another workflow from all addresses of this one.
-- KEYS  1 w  2 due  3 p
-- ARGV  1 workflow  2 watcher
-- Returns 1.
-- Cost  O(addresses * log waiters)
-- p: see watch_afar.lua
--@include clock
--@include condition
--@include waiters
redis.call('ZCARD', KEYS[1])
redis.call('ZCARD', KEYS[2])
local addresses = redis.call('HGET', KEYS[3], ARGV[2])
if addresses then unregister(KEYS[1], ARGV[2], cmsgpack.unpack(addresses)) end
redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[2], 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 1
