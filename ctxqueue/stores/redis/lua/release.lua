-- Sends by the outbox what is due: a parked run past its deadline, a dead attempt's standby, an unclaimed message.
-- KEYS  1 m  2 w  3 t  4 due  5 out  6 msg  7 run's record
-- ARGV  1 workflow  2 run  3 kind (deadline|standby|ready)  4 lease us  5 horizon us
-- Returns 'sent', 'kept' (nothing is to be sent now) or 'given_up'.
-- Cost  O(witness * log waiters)
-- w, t, due: see waiters.lua and released.lua.  run's record: see claim.lua.
--@include clock
--@include condition
--@include waiters
--@include recurring
local m, w, t, due, out, msg, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local workflow, run, kind, lease, horizon = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local LONGEST_PAUSE = 3600 * 1000000
local member = kind .. '\0\0' .. workflow .. '\0\0' .. run
local now = clock_now(redis.call('HGET', m, 'k'))
local due_at = tonumber(redis.call('ZSCORE', due, member))
redis.call('ZCARD', w)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
redis.call('HLEN', t)

if kind == 'ready' then
  local packed = redis.call('HGET', t, 'n:' .. run)
  local kept = packed and cmsgpack.unpack(packed)
  -- Another sweep was here, or the run was claimed and released anew.
  if kept and due_at and due_at > now then return 'kept' end
  if not kept or (kept[5] or kept[2] + horizon) <= now then
    keep_no_more(t, due, workflow, run)
    return kept and 'given_up' or 'kept'
  end
  kept[3] = kept[3] + 1
  local pause = math.max(lease, math.min(lease * 2 ^ kept[3], LONGEST_PAUSE))
  redis.call('HSET', t, 'n:' .. run, cmsgpack.pack(kept))
  redis.call('ZADD', due, digits(now + pause), member)
  send(out, msg, kept[1], kept[4], digits(now))
  return 'sent'
end

if kind == 'deadline' then
  local packed = redis.call('HGET', t, 'c:' .. run)
  local parked = packed and cmsgpack.unpack(string.sub(packed, 5))
  local message = redis.call('HGET', t, 'l:' .. run) or redis.call('HGET', t, 'm:' .. run)
  if parked and parked[2] > now then
    redis.call('ZADD', due, digits(parked[2]), member)
    return 'kept'
  end
  redis.call('ZREM', due, member)
  if not parked then return 'kept' end
  let_go(t, due, out, msg, workflow, run, parked[1], message, now, now, lease)
  stop_waiting(w, t, due, workflow, run, parked)
  if parked[8] then count_of_family(KEYS[1], run, -1) end
  return 'sent'
end

local found = redis.call('HMGET', record, 's', 'l', 'b', 'i')
if found[1] == 'running' and tonumber(found[2]) > now then
  redis.call('ZADD', due, found[2], member)
  return 'kept'
end
redis.call('ZREM', due, member)
if not found[3] then return 'kept' end
-- Also when the attempt has ended: its worker may have died before Celery had stored the result or sent the next
-- task of a chain, and the standby's acknowledgement may have taken the first message with it.
send(out, msg, found[4], found[3], digits(now))
redis.call('HDEL', record, 'b', 'i')
return 'sent'
