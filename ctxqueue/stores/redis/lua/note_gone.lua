-- Notes addresses that are gone, of which values are kept: see gone.lua.
local function note_gone(a, z, revision, addresses)
  for _, address in ipairs(addresses) do
    if redis.call('ZSCORE', a, address) then redis.call('ZADD', z, revision, address) end
  end
end
