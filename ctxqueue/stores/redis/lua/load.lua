-- Reads some addresses together with the head.
-- KEYS  1 m  2 e
-- ARGV  1 bytes to stop after (0: all)  then addresses (none: only the head)
-- Returns false if there is no workflow, else {head (8), records...}, a record false if absent, 0 if left out. The
--   caller drops records that have expired by the head's now.
-- Cost  O(addresses)
--@include head
local head = head_of(KEYS[1])
if not head then return false end
local most, count, left = tonumber(ARGV[1]), #ARGV - 1, {}
-- Two hundred records may be fifty megabytes: where that is possible, they are measured before they are read.
if most > 0 and count > 1 and tonumber(redis.call('HGET', KEYS[1], 'b')) > most then
  local bytes = 0
  for i = 1, count do
    local size = redis.call('HSTRLEN', KEYS[2], ARGV[i + 1])
    if bytes > 0 and bytes + size > most then left[i] = size > 0 else bytes = bytes + size end
  end
end
for first = 1, count, 1000 do
  local asked, places = {}, {}
  for i = first, math.min(first + 999, count) do
    head[8 + i] = 0
    if not left[i] then
      asked[#asked + 1] = ARGV[i + 1]
      places[#places + 1] = 8 + i
    end
  end
  if #asked > 0 then
    for n, record in ipairs(redis.call('HMGET', KEYS[2], unpack(asked))) do head[places[n]] = record end
  end
end
return head
