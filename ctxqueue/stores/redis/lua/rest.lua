-- Takes a judged run off what is due, unless it was told of a write or somebody else has begun to look.
-- KEYS  1 t  2 due
-- ARGV  1 workflow  2 run  3 turn
-- Returns 1, or 0 if it is to be judged again.
-- Cost  O(1)
local packed = redis.call('HGET', KEYS[1], 'c:' .. ARGV[2])
if packed and (cmsgpack.unpack(string.sub(packed, 5))[7] or 0) ~= tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 1
