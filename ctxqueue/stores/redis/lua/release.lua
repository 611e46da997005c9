-- Sends on its way, by the outbox: a parked run past its deadline, or the standby of an attempt whose lease has ended.
-- KEYS  1 m  2 w  3 t  4 due  5 out  6 msg  7 run's record
-- ARGV  1 workflow  2 run  3 kind (deadline|standby)
-- Returns 1 if a message was sent, else 0.
-- Cost  O(witness * log waiters)
-- w, t, due: see waiters.lua.  run's record: see claim.lua.
--@include clock
--@include condition
--@include waiters
local m, w, t, due, out, msg, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local run = ARGV[2]
local member = ARGV[3] .. '\0\0' .. ARGV[1] .. '\0\0' .. run
local now = clock_now(redis.call('HGET', m, 'k'))
redis.call('ZCARD', w)
redis.call('ZCARD', out)
redis.call('HLEN', msg)

if ARGV[3] == 'deadline' then
  local packed = redis.call('HGET', t, 'c:' .. run)
  local parked = packed and cmsgpack.unpack(string.sub(packed, 5))
  local message = redis.call('HGET', t, 'm:' .. run)
  if parked and parked[2] > now then
    redis.call('ZADD', due, digits(parked[2]), member)
    return 0
  end
  redis.call('ZREM', due, member)
  if not parked then return 0 end
  send(out, msg, parked[1], message, digits(now))
  redis.call('HDEL', t, 'c:' .. run, 'm:' .. run)
  unregister(w, run, parked[4])
  return 1
end

local found = redis.call('HMGET', record, 's', 'l', 'b', 'i')
if found[1] == 'running' and tonumber(found[2]) > now then
  redis.call('ZADD', due, found[2], member)
  return 0
end
redis.call('ZREM', due, member)
if not found[3] then return 0 end
-- Also when the attempt has ended: its worker may have died before Celery had stored the result or sent the next
-- task of a chain, and the standby's acknowledgement may have taken the first message with it.
send(out, msg, found[4], found[3], digits(now))
redis.call('HDEL', record, 'b', 'i')
return 1
