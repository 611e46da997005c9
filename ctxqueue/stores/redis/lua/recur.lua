-- Writes down what a look at a trigger or subscription that fires each time has come to, and sends what it fires.
-- KEYS  1 m  2 t  3 due  4 out  5 msg  6 j  7 f
-- ARGV  1 workflow  2 trigger  3 turn  4 notes  5 us at which it is due again ('' when it is told)  6 run ('' it does
--       not fire)  7 item  8 message  9 us for which its end is waited for (0 nobody waits)  10 agent  11 notice ('' none)
--       12 app to which a message of its own comes back leased  13 lease us
-- Returns {'done', item, message}, {'done'}, {'moved'} or {'gone'}.
-- Cost  O(log N)
--@include clock
--@include condition
--@include waiters
--@include recurring
local m, t, due, out, msg, j, f = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local workflow, trigger, run, lease = ARGV[1], ARGV[2], ARGV[6], tonumber(ARGV[13])
local KEPT_NOTICES = 100
local member = 'judge\0\0' .. workflow .. '\0\0' .. trigger
local head = redis.call('HMGET', m, 'k', 'z')
local packed, record = redis.call('HGET', t, 'c:' .. trigger), redis.call('HGET', j, trigger)
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
local noticed = redis.call('HGET', f, ARGV[10])
if head[2] then return { 'gone' } end
if not packed or not record then
  redis.call('ZREM', due, member)
  return { 'gone' }
end
local parked = cmsgpack.unpack(string.sub(packed, 5))
if parked[7] ~= tonumber(ARGV[3]) then return { 'moved' } end
local now, due_at, repeats = clock_now(head[1]), tonumber(ARGV[5]), parked[8]
parked[7] = parked[7] + 1
if run ~= '' then
  local running = tonumber(ARGV[9])
  repeats[1], repeats[2], repeats[3], repeats[4] = repeats[1] + 1, running > 0 and now + running or 0, 0, {}
  if running > 0 then due_at = repeats[2] end
end
save_parked(t, trigger, struct.unpack('>I4', packed), parked)
local kept = cmsgpack.unpack(record)
if kept[4] ~= ARGV[4] then
  kept[4] = ARGV[4]
  redis.call('HSET', j, trigger, cmsgpack.pack(kept))
end
if due_at then redis.call('ZADD', due, digits(due_at), member) else redis.call('ZREM', due, member) end
if run == '' then return { 'done' } end
if ARGV[11] ~= '' then
  local notices = noticed and cmsgpack.unpack(noticed) or {}
  notices[#notices + 1] = ARGV[11]
  while #notices > KEPT_NOTICES do table.remove(notices, 1) end
  redis.call('HSET', f, ARGV[10], cmsgpack.pack(notices))
end
local ours = ARGV[12] ~= '' and string.sub(ARGV[7], 1, #ARGV[12] + 1) == ARGV[12] .. '\0'
let_go(t, due, out, msg, workflow, run, ARGV[7], ARGV[8], ours and now + lease or now, now, lease)
if ours then return { 'done', ARGV[7], ARGV[8] } end
return { 'done' }
