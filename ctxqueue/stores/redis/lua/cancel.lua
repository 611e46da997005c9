-- Calls a run off: fences its attempt, and sends its message if it is parked.
-- KEYS  1 run's record  2 m  3 w  4 t  5 due  6 out  7 msg
-- ARGV  1 workflow  2 run  3 app to which a message of its own comes back leased  4 lease us  5 horizon us
-- Returns {'cancelled', item, message}, {'cancelled'}, {'ended'} or {'unknown'}.
-- Cost  O(witness * log waiters)
-- run's record: see claim.lua.  w, t, due: see waiters.lua and released.lua.
--@include clock
--@include condition
--@include waiters
local record, m, w, t, due, out, msg = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local workflow, run, app, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local found = redis.call('HMGET', record, 's', 'e')
local now = clock_now(redis.call('HGET', m, 'k'))
local packed = redis.call('HGET', t, 'c:' .. run)
local message = redis.call('HGET', t, 'm:' .. run)
redis.call('ZCARD', w)
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
if not found[1] then return { 'unknown' } end
if found[1] == 'done' or found[1] == 'failed' then return { 'ended' } end
if found[1] == 'cancelled' then return { 'cancelled' } end

redis.call('HSET', record, 's', 'cancelled', 'e', digits((tonumber(found[2]) or 0) + 1), 'o', '')
if redis.call('PTTL', record) < tonumber(ARGV[5]) / 1000 then
  redis.call('PEXPIRE', record, digits(tonumber(ARGV[5]) / 1000))
end
if not packed then return { 'cancelled' } end
local parked = cmsgpack.unpack(string.sub(packed, 5))
local ours = app ~= '' and string.sub(parked[1], 1, #app + 1) == app .. '\0'
send(out, msg, parked[1], message, digits(ours and now + lease or now))
keep_until_claimed(t, due, workflow, run, parked[1], message, now, lease)
stop_waiting(w, t, due, workflow, run, parked)
if ours then return { 'cancelled', parked[1], message } end
return { 'cancelled' }
