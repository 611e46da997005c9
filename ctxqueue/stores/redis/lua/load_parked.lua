-- Reads some runs that wait.
-- KEYS  1 t
-- ARGV  1 cursor  2 about how many  3 1: with messages
-- Returns {next cursor, {run, what judges it or '', item, parked us, deadline us, message or '', address...}, ...}.
-- Cost  O(limit), or all of a hash that is still one small list to the server
--@include clock
--@include condition
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', 'c:*', 'COUNT', ARGV[2])
local reply, fields = { page[1] }, page[2]
for i = 1, #fields, 2 do
  local parked = cmsgpack.unpack(string.sub(fields[i + 1], 5))
  local run = string.sub(fields[i], 3)
  local message = ARGV[3] == '1' and redis.call('HGET', KEYS[1], 'm:' .. run) or ''
  local about = { run, parked[6] or '', parked[1], digits(parked[5] or 0), digits(parked[2] or 0), message }
  reply[#reply + 1] = addresses_of(parked[3], about)
end
return reply
