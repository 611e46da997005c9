-- Marks a Celery task as cancelled, or not; or only looks where it is.
-- KEYS  1 task
-- ARGV  1 1 to mark it, 0 to take that back, '' to look  2 ms until this is forgotten
-- Returns {workflow, run}, or {} if no worker has seen it.
-- Cost  O(1)
-- task: see bind.lua
local found = redis.call('HMGET', KEYS[1], 'w', 'r')
if ARGV[1] == '1' then
  redis.call('HSET', KEYS[1], 'z', 1)
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
elseif ARGV[1] == '0' then
  redis.call('HDEL', KEYS[1], 'z')
end
if not found[1] then return {} end
return found
