-- Looks for an update.
-- KEYS  1 m  2 u  3 n  4 journal  5 d
-- ARGV  1 id  2 1 to count an attempt first
-- Returns {0} if there is no workflow, else {1, false or payload, item, message, attempts, false or failure,
--       false or revision, 1 if it is a dead letter, n, version..., address...}
-- Cost  O(log dead letters)
--@include clock
--@include inbox
local found = redis.call('HMGET', KEYS[1], 'i', 'y')
if not found[1] or found[2] then return { 0 } end
local stored = redis.call('HGET', KEYS[2], ARGV[1])
local outcome = redis.call('HMGET', KEYS[4], 'c:', 'f:')
local attempts = tonumber(redis.call('HGET', KEYS[3], ARGV[1])) or 0
local id = ARGV[1]
local dead = redis.call('ZRANGEBYLEX', KEYS[5], '[' .. id .. '\0\0\0', '(' .. id .. '\0\0\1', 'LIMIT', 0, 1)[1]
if stored and ARGV[2] == '1' then attempts = redis.call('HINCRBY', KEYS[3], ARGV[1], 1) end
local reply = { 1, false, '', '', attempts, outcome[2], false, dead and 1 or 0, 0 }
if stored then
  local head, payload = head_and_payload(stored)
  reply[2], reply[3], reply[4] = payload, head[3], head[4]
end
local answered = outcome[1] and cmsgpack.unpack(outcome[1])
if answered and answered[7] == found[1] then
  reply[7], reply[9] = digits(answered[2]), #answered[5]
  for _, version in ipairs(answered[5]) do reply[#reply + 1] = digits(version) end
  for _, address in ipairs(answered[6]) do reply[#reply + 1] = address end
end
return reply
