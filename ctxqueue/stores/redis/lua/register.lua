-- Keeps a trigger's message until its condition holds or its time is up: register and check in one step.
-- KEYS  1 m  2 v  3 w  4 t  5 due  6 out  7 msg  8 y  9 j  10 journal of the run that registers it (else m)
-- ARGV  1 workflow  2 trigger  3 condition (msgpack)  4 what judges it ('' it is evaluated here)  5 item id  6 message
--       7 message when the time is up  8 timeout us ('' none)  9 record ('' somebody waits)  10 most triggers
--       11 app to which a message of its own comes back leased  12 lease us
--       13 call of that run ('' none)  14 max fields of its journal  15 journal expiry ms
--       16 most of its family ('' it fires once)  17 its notes
-- Returns {'fired', item, message}, {'fired'} or
--         {'armed'|'found'|'no_workflow'|'closed'|'full'|'family'|'patterns'|'calls'}.
-- Cost  O(leaves + witness * log waiters)
-- j: see triggers.lua.  w, t, due, y: see waiters.lua.  m: see recurring.lua.  journal: see commit.lua.
--@include clock
--@include condition
--@include waiters
--@include recurring
local m, v, w, t, due, out, msg, y, j = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local workflow, trigger, judge, lease = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[12])
local head = redis.call('HMGET', m, 'i', 'k', 'z', 'y')
if not head[1] or head[4] then return { 'no_workflow' } end
local journal, call, recurs = KEYS[10], ARGV[13], ARGV[16] ~= ''
-- Its record may be trimmed before the body that has registered it runs again.
local before = call ~= '' and redis.call('HGET', journal, 'c:' .. call)
if before and cmsgpack.unpack(before)[7] == head[1] then return { 'found' } end
if redis.call('HEXISTS', j, trigger) == 1 then return { 'found' } end
if head[3] then return { 'closed' } end
if call ~= '' and redis.call('HLEN', journal) >= tonumber(ARGV[14]) then return { 'calls' } end
if ARGV[9] ~= '' and redis.call('HLEN', j) >= tonumber(ARGV[10]) then return { 'full' } end
if recurs then
  local many = tonumber(redis.call('HGET', m, 'f:' .. family_of(trigger))) or 0
  if many >= tonumber(ARGV[16]) then return { 'family' } end
end
local now = clock_now(head[2])
local tree, known = cmsgpack.unpack(ARGV[3]), {}
local addresses = addresses_of(tree, {})
if judge == '' then learn(known, addresses, v, now) end
redis.call('ZCARD', w)
redis.call('HLEN', t)
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
redis.call('ZCARD', y)
if judge ~= '' and too_many_prefixes(w, addresses) then return { 'patterns' } end

local is_trigger = ARGV[9] ~= ''
if is_trigger then redis.call('HSET', j, trigger, cmsgpack.pack({ 'ARMED', '', ARGV[9], recurs and ARGV[17] or nil })) end
if call ~= '' then
  redis.call('HSET', journal, 'c:' .. call, cmsgpack.pack({ '', 0, now, '', {}, {}, head[1] }))
  if redis.call('PTTL', journal) < 0 then redis.call('PEXPIRE', journal, ARGV[15]) end
end
local deadline = ARGV[8] ~= '' and now + tonumber(ARGV[8]) or 0
local watched = witness(tree, known, {})
local parked = { ARGV[5], deadline, tree, watched, now, judge ~= '' and judge or nil }
if recurs then
  parked[7], parked[8] = 0, { 0, 0, 0, {} }
  count_of_family(m, trigger, 1)
end
save_parked(t, trigger, #addresses, parked)
if not recurs then redis.call('HSET', t, 'm:' .. trigger, ARGV[6]) end
if is_trigger and ARGV[7] ~= '' then redis.call('HSET', t, 'l:' .. trigger, ARGV[7]) end
if judge == '' and holds(tree, known) then
  local _, outgoing = carry_out({ [trigger] = parked }, {}, w, t, y, due, out, msg, workflow, now, ARGV[11], lease)
  return { 'fired', unpack(outgoing) }
end
register(w, trigger, watched)
if deadline > 0 then redis.call('ZADD', due, digits(deadline), 'deadline\0\0' .. workflow .. '\0\0' .. trigger) end
if judge ~= '' then redis.call('ZADD', due, digits(now + lease), 'judge\0\0' .. workflow .. '\0\0' .. trigger) end
return { 'armed' }
