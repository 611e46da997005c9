-- Removes kept values of one address.
-- KEYS  1 h:<address>  2 a  3 v  4 z
-- ARGV  1 address  2 revision: all of them, if nothing has stood there since; 0: some versions
--       3 about where these stand in the list  then versions
-- Returns how many there were.
-- Cost  O(kept values); of large ones not many more are read than are removed
-- h:<address>: see history.lua.  a: see history_addresses.lua.  z: see gone.lua.
local h, a, v, z = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local removed = 0
local unwanted, wanted = {}, #ARGV - 3
for i = 4, #ARGV do unwanted[tonumber(ARGV[i])] = true end
redis.call('ZCARD', a)
redis.call('ZCARD', z)
local newest = redis.call('LINDEX', h, 0)
if tonumber(ARGV[2]) > 0 then
  if redis.call('HEXISTS', v, ARGV[1]) == 0 and (not newest or struct.unpack('>d', newest) <= tonumber(ARGV[2])) then
    removed = redis.call('LLEN', h)
    redis.call('UNLINK', h)
  end
elseif newest then
  local doomed, length, from = {}, redis.call('LLEN', h), tonumber(ARGV[3])
  for step = 0, length - 1 do
    if #doomed == wanted then break end
    local kept = redis.call('LINDEX', h, (from + step) % length)
    -- After the revision that took its place, and the codec's version, stands the record's version.
    if unwanted[struct.unpack('>d', string.sub(kept, 10, 17))] then doomed[#doomed + 1] = kept end
  end
  for _, kept in ipairs(doomed) do removed = removed + redis.call('LREM', h, 1, kept) end
end
if redis.call('LLEN', h) == 0 then
  redis.call('ZREM', a, ARGV[1])
  redis.call('ZREM', z, ARGV[1])
end
return removed
