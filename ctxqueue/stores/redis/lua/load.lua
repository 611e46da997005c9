-- Reads some addresses together with the head.
-- KEYS  1 m  2 e
-- ARGV  addresses (none: only the head)
-- Returns false if there is no workflow, else {head (8), records...}, a record false if absent. The caller drops
--   records that have expired by the head's now.
-- Cost  O(addresses)
--@include head
local head = head_of(KEYS[1])
if not head then return false end
for first = 1, #ARGV, 1000 do
  local records = redis.call('HMGET', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  for i, record in ipairs(records) do head[7 + first + i] = record end
end
return head
