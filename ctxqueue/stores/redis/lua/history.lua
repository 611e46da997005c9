-- Reads one address's record and the values kept of it.
-- KEYS  1 m  2 e  3 h:<address>
-- ARGV  1 address  2 how many kept values to skip  3 bytes to stop after
-- Returns false if there is no workflow, else {head (8), record or false, 1 if there is more, kept value...}.
-- Cost  O(kept values)
-- h:<address>  list, newest first  the revision that took its place (>d), then the record
--@include head
local head = head_of(KEYS[1])
if not head then return false end
head[9] = redis.call('HGET', KEYS[2], ARGV[1])
local at, bytes, kept = tonumber(ARGV[2]), 0, {}
local length = redis.call('LLEN', KEYS[3])
while at < length and (#kept == 0 or bytes <= tonumber(ARGV[3])) do
  kept[#kept + 1] = redis.call('LINDEX', KEYS[3], at)
  bytes = bytes + #kept[#kept]
  at = at + 1
end
head[10] = at < length and 1 or 0
for _, value in ipairs(kept) do head[#head + 1] = value end
return head
