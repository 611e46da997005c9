-- Makes an update a dead letter.
-- KEYS  1 m  2 u  3 q  4 i  5 n  6 d  7 journal  8 due  9 out  10 msg
-- ARGV  1 workflow  2 id  3 drain that holds the inbox ('' not queued)  4 what is known of it  5 failure
--       6 horizon ms  7 1 to send its report
-- Returns 1, or 0 if it is not there, or not in this drain's hands.
-- Cost  O(log N)
--@include clock
--@include inbox
local m, u, q, i, n, d, journal, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, drain = ARGV[2], ARGV[3]
local head = redis.call('HMGET', m, 'k', 'qo')
local stored = redis.call('HGET', u, id)
local first = redis.call('LINDEX', q, 0)
redis.call('ZCARD', i)
redis.call('HLEN', n)
redis.call('HLEN', journal)
redis.call('ZCARD', due)
redis.call('ZCARD', KEYS[9])
redis.call('HLEN', KEYS[10])
if not stored then return 0 end
if redis.call('ZRANGEBYLEX', d, '[' .. id .. '\0\0\0', '(' .. id .. '\0\0\1', 'LIMIT', 0, 1)[1] then return 1 end
if drain == '' and not redis.call('ZSCORE', i, id) then return 0 end
if drain ~= '' and (head[2] ~= drain or first ~= id) then return 0 end
if drain ~= '' then
  redis.call('LPOP', q)
  redis.call('HSET', m, 'qa', 0)
end
redis.call('ZREM', i, id)
redis.call('HDEL', n, id)
redis.call('ZADD', d, 0, id .. '\0\0\0' .. ARGV[4])
redis.call('HSET', journal, 'f:', ARGV[5])
redis.call('PEXPIRE', journal, ARGV[6])
if ARGV[7] == '1' then
  local its_head = head_and_payload(stored)
  report(its_head[3], its_head[4], KEYS[9], KEYS[10], clock_now(head[1]), '', 0, {})
end
return 1
