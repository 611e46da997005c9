-- Reads which keys each address depends on.
-- KEYS  1 m  2 g
-- ARGV  none
-- Returns false if there is no workflow, else {head (8), address, msgpack list of keys, ...}.
-- Cost  O(addresses with dependencies)
-- g  hash  address -> msgpack list of keys
--@include head
local head = head_of(KEYS[1])
if not head then return false end
for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do head[#head + 1] = part end
return head
