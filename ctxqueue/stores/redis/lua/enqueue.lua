-- Stores an update until it is settled.
-- KEYS  1 m  2 u  3 q  4 i  5 due  6 journal
-- ARGV  1 workflow  2 id  3 payload  4 most updates  5 1 if queued  6 item  7 message  8 lease us
--       9 the drain's item  10 the drain's message  11 us after which it is dropped (0 never)
-- Returns 'stored', 'send' (publish a drain), 'known' (it has an outcome), 'full', 'closed' or 'no_workflow'.
-- Cost  O(log N)
--@include clock
--@include inbox
local m, u, q, i, due, journal = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local workflow, id, queued, lease = ARGV[1], ARGV[2], ARGV[5] == '1', tonumber(ARGV[8])
local head = redis.call('HMGET', m, 'i', 'k', 'z', 'y', 'qs', 'qo')
if not head[1] or head[4] then return 'no_workflow' end
local now = clock_now(head[2])
local made = redis.call('HMGET', journal, 'c:', 'f:')
if made[1] and cmsgpack.unpack(made[1])[7] == head[1] then return 'known' end
local waiting = redis.call('HLEN', u)
-- Asked again, for the reply was lost: whoever asked has published no drain yet.
if redis.call('HEXISTS', u, id) == 1 then return queued and not head[6] and 'send' or 'stored' end
if head[3] then return 'closed' end
if waiting >= tonumber(ARGV[4]) then return 'full' end
local announced = queued and head[5] and tonumber(head[5]) > now

-- Nothing is written where a key is of another type: what has not been read is asked for, or written first.
if not announced then redis.call('ZCARD', due) end
redis.call(queued and 'ZCARD' or 'LLEN', queued and i or q)
if queued then redis.call('RPUSH', q, id) else redis.call('ZADD', i, digits(now + lease), id) end
local stored = cmsgpack.pack({ now, queued and 1 or 0, ARGV[6], ARGV[7], ARGV[11] ~= '0' and now + tonumber(ARGV[11]) or 0 })
redis.call('HSET', u, id, struct.pack('>I4', #stored) .. stored .. ARGV[3])
if made[2] then redis.call('HDEL', journal, 'f:') end
if announced then return 'stored' end
if not queued then
  redis.call('ZADD', due, 'LT', digits(now + lease), inbox_member('updates', workflow))
  return 'stored'
end
redis.call('HSET', m, 'qi', ARGV[9], 'qm', ARGV[10])
announce(m, due, workflow, now + lease)
return 'send'
