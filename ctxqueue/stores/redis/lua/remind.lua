-- Sends by the outbox what is due in an inbox: overdue updates, or the drain's announcement.
-- KEYS  1 m  2 u  3 q  4 i  5 due  6 out  7 msg  8 n
-- ARGV  1 workflow  2 kind (inbox|updates)  3 most updates  4 lease us
-- Returns how many messages.
-- Cost  O(updates * log N)
--@include clock
--@include inbox
local m, u, q, i, due, out, msg, n = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local workflow, lease = ARGV[1], tonumber(ARGV[4])
local head = redis.call('HMGET', m, 'i', 'k', 'qs', 'qi', 'qm')
local waiting = redis.call('LLEN', q)
redis.call('HLEN', u)
redis.call('ZCARD', i)
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
redis.call('HLEN', n)
local now = clock_now(head[2])

if ARGV[2] == 'inbox' then
  if waiting == 0 or not head[1] then
    redis.call('ZREM', due, inbox_member('inbox', workflow))
    return 0
  end
  if head[3] and tonumber(head[3]) > now then
    announce(m, due, workflow, tonumber(head[3]))
    return 0
  end
  local oldest = redis.call('HGET', u, redis.call('LINDEX', q, 0))
  report(head[4], head[5], out, msg, now, '', 0, {})
  announce(m, due, workflow, now + pause_after(now - head_and_payload(oldest)[1], lease))
  return 1
end

local overdue = redis.call('ZRANGEBYSCORE', i, '-inf', digits(now), 'LIMIT', 0, tonumber(ARGV[3]))
local dropped = {}
for _, id in ipairs(overdue) do
  local its_head = head_and_payload(redis.call('HGET', u, id))
  if its_head[5] > 0 and its_head[5] <= now then
    dropped[#dropped + 1] = { id = id }
  else
    report(its_head[3], its_head[4], out, msg, now, '', 0, {})
    redis.call('ZADD', i, digits(now + pause_after(now - its_head[1], lease)), id)
  end
end
take_out(dropped, u, i, n)
local following = redis.call('ZRANGE', i, 0, 0, 'WITHSCORES')[2]
if following then
  redis.call('ZADD', due, following, inbox_member('updates', workflow))
else
  redis.call('ZREM', due, inbox_member('updates', workflow))
end
return #overdue - #dropped
