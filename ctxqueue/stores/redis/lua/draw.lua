-- Takes hold of an inbox and reads the updates that wait longest.
-- KEYS  1 m  2 u  3 q  4 due
-- ARGV  1 workflow  2 drain  3 most updates  4 bytes to stop after  5 lease us  6 crashes after which one at a time
-- Returns {'batch', crashes, id, payload, item, message, ...}, {'empty'}, {'busy'} or {'no_workflow'}.
-- Cost  O(updates)
--@include clock
--@include inbox
local m, u, q, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local CAREFUL = 100
local head = redis.call('HMGET', m, 'i', 'k', 'y', 'qo', 'ql', 'qa', 'qc')
if not head[1] or head[3] then return { 'no_workflow' } end
local now = clock_now(head[2])
local waiting = redis.call('LLEN', q)
redis.call('HLEN', u)
redis.call('ZCARD', due)
local mine = head[4] == ARGV[2]
if head[4] and not mine and tonumber(head[5]) > now then return { 'busy' } end
if waiting == 0 then
  withdraw(m, due, ARGV[1])
  return { 'empty' }
end
-- Whoever held it last and neither settled all nor let go has died.
local crashes, careful = tonumber(head[6]) or 0, tonumber(head[7]) or 0
if head[4] and not mine then crashes = crashes + 1 end
if crashes >= tonumber(ARGV[6]) then careful = CAREFUL end
redis.call('HSET', m, 'qo', ARGV[2], 'ql', digits(now + tonumber(ARGV[5])), 'qa', crashes, 'qc', careful)
announce(m, due, ARGV[1], now + tonumber(ARGV[5]))
local most = careful > 0 and 1 or tonumber(ARGV[3])
local reply, bytes = { 'batch', crashes }, 0
for _, id in ipairs(redis.call('LRANGE', q, 0, most - 1)) do
  local stored = redis.call('HGET', u, id)
  if bytes > 0 and bytes + #stored > tonumber(ARGV[4]) then break end
  bytes = bytes + #stored
  local its_head, payload = head_and_payload(stored)
  for _, part in ipairs({ id, payload, its_head[3], its_head[4] }) do reply[#reply + 1] = part end
end
return reply
