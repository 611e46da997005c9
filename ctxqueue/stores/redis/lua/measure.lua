-- Counts what a workflow holds.
-- KEYS  1 m  2 e  3 l  4 u  5 d  6 j  7 t
-- ARGV  none
-- Returns false if there is no workflow, else {head (8), entries, bytes, log records, updates, dead letters, triggers,
--       1 if somebody waits, or was released and is not claimed yet}.
-- Cost  O(1)
--@include head
local head = head_of(KEYS[1])
if not head then return false end
local counts = {
  redis.call('HLEN', KEYS[2]), tonumber(redis.call('HGET', KEYS[1], 'b')) or 0, redis.call('XLEN', KEYS[3]),
  redis.call('HLEN', KEYS[4]), redis.call('ZCARD', KEYS[5]), redis.call('HLEN', KEYS[6]),
  math.min(redis.call('HLEN', KEYS[7]), 1),
}
for _, count in ipairs(counts) do head[#head + 1] = count end
return head
