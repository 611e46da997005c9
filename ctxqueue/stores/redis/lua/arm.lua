-- Parks a run until its condition holds or its deadline passes: register and check in one step.
-- KEYS  1 run's record  2 m  3 v  4 w  5 t  6 due
-- ARGV  1 workflow  2 run  3 epoch  4 condition (msgpack)  5 item id  6 message ('' only look)  7 timeout us  8 horizon us
--       9 name of the wait ('' what the task needs)  10 what judges it ('' it is evaluated here)  11 lease us
-- Returns {'parked'|'missing'|'timeout', ordinal of an unmet leaf...}
--       or {'ready'|'superseded'|'no_workflow'|'closed'|'patterns'}.
-- Cost  O(leaves + witness * log waiters)
-- run's record: see claim.lua.  w, t, due: see waiters.lua.
--@include clock
--@include condition
--@include waiters
local record, m, v, w, t, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local run, its_deadline = ARGV[2], 'd' .. ARGV[9]
local found = redis.call('HMGET', record, 'e', its_deadline, 's')
local head = redis.call('HMGET', m, 'i', 'k', 'z')
if not head[1] then return { 'no_workflow' } end
if found[1] ~= ARGV[3] then return { 'superseded' } end
if head[3] then return { 'closed' } end
local now = clock_now(head[2])
local tree, known = cmsgpack.unpack(ARGV[4]), {}
local addresses = addresses_of(tree, {})
if ARGV[10] == '' then learn(known, addresses, v, now) end
if found[3] == 'parked' then
  -- The same call again, its reply was lost; meanwhile the run may have been released already.
  local reply = { 'parked' }
  unmet(tree, known, reply, 0)
  return reply
end
if holds(tree, known) then return { 'ready' } end
local deadline = tonumber(found[2]) or now + tonumber(ARGV[7])
local reply = { deadline <= now and 'timeout' or ARGV[6] == '' and 'missing' or 'parked' }
unmet(tree, known, reply, 0)
if reply[1] ~= 'parked' then return reply end
redis.call('ZCARD', w)
redis.call('HLEN', t)
redis.call('ZCARD', due)
if ARGV[10] ~= '' and too_many_prefixes(w, addresses) then return { 'patterns' } end

-- A newer message of a run may be parked while an older one still is: it takes its place.
local before = redis.call('HGET', t, 'c:' .. run)
local watched = witness(tree, known, {})
if before then unregister(w, run, cmsgpack.unpack(string.sub(before, 5))[4]) end
register(w, run, watched)
local kept = cmsgpack.pack({ ARGV[5], deadline, tree, watched, now, ARGV[10] ~= '' and ARGV[10] or nil })
redis.call('HSET', t, 'c:' .. run, struct.pack('>I4', #addresses) .. kept, 'm:' .. run, ARGV[6])
redis.call('ZADD', due, digits(deadline), 'deadline\0\0' .. ARGV[1] .. '\0\0' .. run)
if ARGV[10] ~= '' then redis.call('ZADD', due, digits(now + tonumber(ARGV[11])), 'judge\0\0' .. ARGV[1] .. '\0\0' .. run) end
redis.call('HSET', record, 's', 'parked', its_deadline, digits(deadline), 'p', digits(now))
redis.call('PEXPIRE', record, digits((deadline - now + tonumber(ARGV[8])) / 1000))
return reply
