-- Makes a workflow if it is absent.
-- KEYS  1 m
-- ARGV  1 incarnation  2 metadata
-- Returns {1 if made, incarnation, revision, commit id, created, metadata, now}.
-- Cost  O(1)
-- m  hash  i incarnation, r revision, c commit id, k clock shown, f version floor, n created, d metadata, b bytes
--@include clock
local made = 0
local found = redis.call('HMGET', KEYS[1], 'i', 'r', 'c', 'n', 'd', 'k')
local now = clock_now(found[6])
if not found[1] then
  made = 1
  local zero = string.rep('\0', 8)
  redis.call('HSET', KEYS[1], 'i', ARGV[1], 'r', 0, 'c', zero, 'n', digits(now), 'd', ARGV[2], 'k', digits(now), 'f', 0, 'b', 0)
  found = { ARGV[1], '0', zero, digits(now), ARGV[2] }
end
return { made, found[1], found[2], found[3], found[4], found[5], digits(now) }
