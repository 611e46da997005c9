-- Makes a workflow if it is absent.
-- KEYS  1 m  2 due  3 all  4 t
-- ARGV  1 workflow  2 incarnation  3 metadata  4 idle us ('' the global context, which has no idle life)
-- Returns {1 if made, head...}, or {2} while the workflow is being removed.
-- Cost  O(log N)
-- m    hash  i incarnation, r revision, c commit id, k clock shown, f version floor, n created, d metadata, b bytes,
--            z closed at, y 1 while it is being removed, g graph epoch; the last three only where they are not 0
-- all  zset, all scores 0  the ids of the shard's workflows     due  see peek.lua
--@include head
local m, due, all = KEYS[1], KEYS[2], KEYS[3]
redis.call('ZCARD', due)
redis.call('ZCARD', all)
redis.call('HLEN', KEYS[4])
local head = head_of(m)
if not head and redis.call('EXISTS', m) == 1 then return { 2 } end
local made = 0
if not head then
  made = 1
  local now = digits(clock_now(0))
  redis.call('HSET', m, 'i', ARGV[2], 'r', 0, 'c', string.rep('\0', 8), 'n', now, 'd', ARGV[3], 'k', now, 'f', 0, 'b', 0)
  -- What an earlier workflow of this name left there would take the runs of this one with it.
  redis.call('PERSIST', KEYS[4])
  head = head_of(m)
end
-- Also of one that is there: an earlier version of this store made none.
if ARGV[4] ~= '' and (made == 1 or not redis.call('ZSCORE', all, ARGV[1])) then
  redis.call('ZADD', all, 0, ARGV[1])
  redis.call('ZADD', due, 'NX', digits(tonumber(head[6]) + tonumber(ARGV[4])), 'idle\0\0' .. ARGV[1] .. '\0\0')
end
return { made, unpack(head) }
