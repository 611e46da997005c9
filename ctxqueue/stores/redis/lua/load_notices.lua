-- Reads what an agent was notified of.
-- KEYS  1 m  2 f
-- ARGV  1 agent
-- Returns a list, the oldest first.
-- Cost  O(notices)
-- f: see recurring.lua
local notices = redis.call('HGET', KEYS[2], ARGV[1])
if not notices or redis.call('HEXISTS', KEYS[1], 'y') == 1 then return {} end
return cmsgpack.unpack(notices)
