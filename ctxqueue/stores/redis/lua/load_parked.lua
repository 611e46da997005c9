-- Reads some runs that wait.
-- KEYS  1 t
-- ARGV  1 cursor  2 about how many
-- Returns {next cursor, {run, what judges it or '', address...}, ...}.
-- Cost  O(limit), or all of a hash that is still one small list to the server
--@include condition
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', 'c:*', 'COUNT', ARGV[2])
local reply, fields = { page[1] }, page[2]
for i = 1, #fields, 2 do
  local parked = cmsgpack.unpack(string.sub(fields[i + 1], 5))
  reply[#reply + 1] = addresses_of(parked[3], { string.sub(fields[i], 3), parked[6] or '' })
end
return reply
