-- Refuses all further writes of a workflow and makes its end due.
-- KEYS  1 m  2 t  3 due  4 u
-- ARGV  1 workflow  2 1 to remove it at once  3 idle us ('' whatever it has done)  4 horizon us
-- Returns 'closed', 'kept' (not idle) or 'no_workflow'.
-- Cost  O(log N)
--@include clock
local m, t, due = KEYS[1], KEYS[2], KEYS[3]
local idle_member = 'idle\0\0' .. ARGV[1] .. '\0\0'
local found = redis.call('HMGET', m, 'i', 'k', 'z', 'y', 'lasting')
-- Those that fire each time wait for no end: they go with their workflow.
local waiting = redis.call('HLEN', t) - (tonumber(found[5]) or 0) + redis.call('HLEN', KEYS[4])
redis.call('ZCARD', due)
if not found[1] then
  redis.call('ZREM', due, idle_member)
  return 'no_workflow'
end
local now = clock_now(found[2])
if ARGV[3] ~= '' then
  local idle_at = tonumber(found[2]) + tonumber(ARGV[3])
  if waiting > 0 then idle_at = math.max(idle_at, now + tonumber(ARGV[3])) end
  if idle_at > now then
    redis.call('ZADD', due, digits(idle_at), idle_member)
    return 'kept'
  end
end
if not found[3] then redis.call('HSET', m, 'z', digits(now)) end
if ARGV[2] == '1' then redis.call('HSET', m, 'y', 1) end
redis.call('ZADD', due, digits(now), 'end\0\0' .. ARGV[1] .. '\0\0')
redis.call('ZREM', due, idle_member)
return 'closed'
