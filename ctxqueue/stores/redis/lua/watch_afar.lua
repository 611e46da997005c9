-- Registers a run of another workflow on addresses of this one, to be judged when one is written.
-- KEYS  1 m  2 w  3 due  4 p
-- ARGV  1 workflow  2 watcher  3 us until it is judged anyhow  4 1 if it is being registered  then the addresses
-- Returns 'watched', 'absent' (the workflow is not there) or 'patterns'.
-- Cost  O(addresses * log waiters)
-- p  hash  watcher -> msgpack list of the addresses that it was registered on
--@include clock
--@include condition
--@include waiters
local head = redis.call('HMGET', KEYS[1], 'i', 'k', 'y')
if not head[1] or head[3] then return 'absent' end
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
local before, addresses = redis.call('HGET', KEYS[4], ARGV[2]), {}
for i = 5, #ARGV do addresses[i - 4] = ARGV[i] end
if ARGV[4] == '1' and too_many_prefixes(KEYS[2], addresses) then return 'patterns' end
if before then unregister(KEYS[2], ARGV[2], cmsgpack.unpack(before)) end
register(KEYS[2], ARGV[2], addresses)
redis.call('HSET', KEYS[4], ARGV[2], cmsgpack.pack(addresses))
local again = digits(clock_now(head[2]) + tonumber(ARGV[3]))
redis.call('ZADD', KEYS[3], 'LT', again, 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 'watched'
