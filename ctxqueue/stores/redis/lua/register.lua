-- Keeps a trigger's message until its condition holds or its time is up: register and check in one step.
-- KEYS  1 m  2 v  3 w  4 t  5 due  6 out  7 msg  8 y  9 j
-- ARGV  1 workflow  2 trigger  3 condition (msgpack)  4 what judges it ('' it is evaluated here)  5 item id  6 message
--       7 message when the time is up  8 timeout us ('' none)  9 record ('' somebody waits)  10 most triggers
--       11 app to which a message of its own comes back leased  12 lease us
-- Returns {'fired', item, message}, {'fired'} or {'armed'|'found'|'no_workflow'|'closed'|'full'|'patterns'}.
-- Cost  O(leaves + witness * log waiters)
-- j: see triggers.lua.  w, t, due, y: see waiters.lua.
--@include clock
--@include condition
--@include waiters
local m, v, w, t, due, out, msg, y, j = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local workflow, trigger, judge, lease = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[12])
local head = redis.call('HMGET', m, 'i', 'k', 'z', 'y')
if not head[1] or head[4] then return { 'no_workflow' } end
if redis.call('HEXISTS', j, trigger) == 1 then return { 'found' } end
if head[3] then return { 'closed' } end
if ARGV[9] ~= '' and redis.call('HLEN', j) >= tonumber(ARGV[10]) then return { 'full' } end
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
if is_trigger then redis.call('HSET', j, trigger, cmsgpack.pack({ 'ARMED', '', ARGV[9] })) end
local deadline = ARGV[8] ~= '' and now + tonumber(ARGV[8]) or 0
local watched = witness(tree, known, {})
local parked = { ARGV[5], deadline, tree, watched, now, judge ~= '' and judge or nil }
redis.call('HSET', t, 'c:' .. trigger, struct.pack('>I4', #addresses) .. cmsgpack.pack(parked), 'm:' .. trigger, ARGV[6])
if is_trigger then redis.call('HSET', t, 'l:' .. trigger, ARGV[7]) end
if judge == '' and holds(tree, known) then
  local _, outgoing = carry_out({ [trigger] = parked }, {}, w, t, y, due, out, msg, workflow, now, ARGV[11], lease)
  return { 'fired', unpack(outgoing) }
end
register(w, trigger, watched)
if deadline > 0 then redis.call('ZADD', due, digits(deadline), 'deadline\0\0' .. workflow .. '\0\0' .. trigger) end
if judge ~= '' then redis.call('ZADD', due, digits(now + lease), 'judge\0\0' .. workflow .. '\0\0' .. trigger) end
return { 'armed' }
