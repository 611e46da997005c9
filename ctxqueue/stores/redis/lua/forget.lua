-- Removes kept values of one address.
-- KEYS  1 h:<address>  2 a
-- ARGV  1 address, then versions
-- Returns how many there were.
-- Cost  O(kept values)
-- h:<address>: see history.lua.  a: see history_addresses.lua.
local removed = 0
local unwanted = {}
for i = 2, #ARGV do unwanted[tonumber(ARGV[i])] = true end
redis.call('ZCARD', KEYS[2])
for _, kept in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  -- After the revision that took its place, and the codec's version, stands the record's version.
  if unwanted[struct.unpack('>d', string.sub(kept, 10, 17))] then
    removed = removed + redis.call('LREM', KEYS[1], 1, kept)
  end
end
if redis.call('LLEN', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return removed
