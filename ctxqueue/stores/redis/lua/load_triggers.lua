-- Reads some triggers.
-- KEYS  1 j  2 t  3 m
-- ARGV  1 cursor  2 about how many
-- Returns {next cursor, {trigger, state, reason, record}, ...}.
-- Cost  O(limit), or all of a hash that is still one small list to the server
--@include clock
--@include triggers
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local reply, fields = { page[1] }, page[2]
for i = 1, #fields, 2 do reply[#reply + 1] = trigger_of(KEYS[3], KEYS[2], fields[i], fields[i + 1]) end
return reply
