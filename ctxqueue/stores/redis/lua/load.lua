-- Reads some addresses together with the head.
-- KEYS  1 m  2 e
-- ARGV  addresses (none: only the head)
-- Returns false if there is no workflow, else {incarnation, revision, commit id, created, metadata, now, records...},
--   a record false if absent. The caller drops records that have expired by `now`.
-- Cost  O(addresses)
--@include clock
local head = redis.call('HMGET', KEYS[1], 'i', 'r', 'c', 'n', 'd', 'k')
if not head[1] then return false end
head[6] = digits(clock_now(head[6]))
for first = 1, #ARGV, 1000 do
  local records = redis.call('HMGET', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  for i, record in ipairs(records) do head[5 + first + i] = record end
end
return head
