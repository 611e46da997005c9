-- Writes records of one address anew that differ only in how their values are encrypted.
-- KEYS  1 m  2 e  3 h:<address>
-- ARGV  1 address  2 incarnation, then for each record: revision that took its place (>d; '' the entry itself), old, new
-- Returns how many were written: those that are not any more as they were read stay.
-- Cost  O(records * kept values)
-- m, e: see commit.lua.  h:<address>: see history.lua.
local head = redis.call('HMGET', KEYS[1], 'i', 'y', 'b')
if head[1] ~= ARGV[2] or head[2] then return 0 end
local standing = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('LLEN', KEYS[3])
local places, written, entry = {}, 0, nil
for at = 3, #ARGV, 3 do
  if ARGV[at] == '' then
    if standing == ARGV[at + 1] then entry = ARGV[at + 2] end
  else
    local place = redis.call('LPOS', KEYS[3], ARGV[at] .. ARGV[at + 1])
    if place then places[#places + 1] = { place, ARGV[at] .. ARGV[at + 2] } end
  end
end
for _, place in ipairs(places) do
  redis.call('LSET', KEYS[3], place[1], place[2])
  written = written + 1
end
if entry then
  redis.call('HSET', KEYS[2], ARGV[1], entry)
  if #entry ~= #standing then redis.call('HINCRBY', KEYS[1], 'b', #entry - #standing) end
  written = written + 1
end
return written
