-- Takes a judged run off what is due, unless one of its addresses was written since it was registered on them.
-- KEYS  1 t  2 due
-- ARGV  1 workflow  2 run
-- Returns 1, or 0 if it is to be judged again.
-- Cost  O(addresses)
local packed = redis.call('HGET', KEYS[1], 'c:' .. ARGV[2])
if packed and #cmsgpack.unpack(string.sub(packed, 5))[4] == 0 then return 0 end
redis.call('ZREM', KEYS[2], 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 1
