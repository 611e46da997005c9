-- Reads some stored updates.
-- KEYS  1 m  2 u
-- ARGV  1 cursor  2 about how many
-- Returns {next cursor, id, payload, item, message, ...}.
-- Cost  O(limit), or all of a hash that is still one small list to the server
--@include clock
--@include inbox
local found = redis.call('HMGET', KEYS[1], 'i', 'y')
if not found[1] or found[2] then return { '0' } end
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local reply, fields = { page[1] }, page[2]
for i = 1, #fields, 2 do
  local head, payload = head_and_payload(fields[i + 1])
  for _, part in ipairs({ fields[i], payload, head[3], head[4] }) do reply[#reply + 1] = part end
end
return reply
