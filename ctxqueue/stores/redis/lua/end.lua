-- Does one step of a closed workflow's end.
-- First parked runs are released; then, if it is to go, kept values are forgotten, whose addresses the step before
-- named; then all that is left is removed.
-- KEYS  1 m  2 e  3 v  4 x  5 k  6 w  7 t  8 l  9 a  10 s  11 g  12 y  13 due  14 out  15 msg  16 all
--       17 u  18 q  19 i  20 n  21 d  22 j  23 o  24 p  25 f  26 z, then h:<address> for each address to drop
-- ARGV  1 workflow  2 limit  3 app whose released items come back leased  4 lease us  5 horizon us
--       then the addresses to drop
-- Returns {'more', n, address to drop next..., item, message, ...}, {'waiting'} or {'done'}.
-- Cost  O(limit * log N); the last step frees its keys in the background
--@include clock
--@include condition
--@include waiters
--@include triggers
local m, e, v, x, k, w, t = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local l, a, s, g, y, due, out, msg, all = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local workflow, limit = ARGV[1], tonumber(ARGV[2])
local HEAD_KEYS, HEAD_ARGS = 26, 5
local member = 'end\0\0' .. workflow .. '\0\0'
local found = redis.call('HMGET', m, 'i', 'k', 'z', 'y', 'ended to')
local now = clock_now(found[2])
redis.call('ZCARD', due)
redis.call('ZCARD', all)
redis.call('ZCARD', a)
redis.call('ZCARD', y)
redis.call('HLEN', t)
redis.call('HLEN', KEYS[22])
redis.call('LLEN', KEYS[23])
redis.call('ZCARD', w)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
if not found[1] or not found[3] then
  redis.call('ZREM', due, member)
  return { 'done' }
end

local fires, dropped = {}, false
local runs, stray = {}, {}
for _, registered in ipairs(redis.call('ZRANGE', w, 0, limit - 1)) do
  local run = string.match(registered, '.*%z%z(.*)$')
  runs[run], stray[#stray + 1] = true, { registered, run }
end
-- One that was told of a write and is not judged yet, or waits for other workflows alone, is registered nowhere. Among
-- many messages of released runs it is looked for by steps.
local cursor, more_to_scan = found[5] or '0', false
if not next(runs) then
  local page = redis.call('HSCAN', t, cursor, 'MATCH', 'c:*', 'COUNT', 1000)
  for i = 1, math.min(#page[2], 2 * limit), 2 do runs[string.sub(page[2][i], 3)] = true end
  if #page[2] <= 2 * limit then cursor = page[1] end -- else there is more in this one
  more_to_scan = cursor ~= '0' or #page[2] > 2 * limit
end
for run in pairs(runs) do
  local packed = redis.call('HGET', t, 'c:' .. run)
  local parked = packed and cmsgpack.unpack(string.sub(packed, 5))
  if packed and (parked[8] or redis.call('HEXISTS', t, 'l:' .. run) == 1) then
    stop_waiting(w, t, due, workflow, run, parked)
    local kept = redis.call('HGET', KEYS[22], run)
    if kept then write_ended(KEYS[22], KEYS[23], run, kept, 'CANCELLED', 'the workflow was closed') end
    dropped = true
  elseif packed then
    fires[run] = parked
  end
end
for _, each in ipairs(stray) do
  if not fires[each[2]] and redis.call('ZREM', w, each[1]) == 1 then
    redis.call('ZREM', due, 'judge\0\0' .. workflow .. '\0\0' .. each[2])
    dropped = true
  end
end
local released, outgoing = carry_out(fires, {}, w, t, y, due, out, msg, workflow, now, ARGV[3], tonumber(ARGV[4]))
if more_to_scan then redis.call('HSET', m, 'ended to', cursor) elseif found[5] then redis.call('HDEL', m, 'ended to') end
if released > 0 or dropped or more_to_scan then return { 'more', 0, unpack(outgoing) } end

if not found[4] then
  local ends = tonumber(found[3]) + tonumber(ARGV[5])
  if ends > now then
    redis.call('ZADD', due, digits(ends), member)
    return { 'waiting' }
  end
  redis.call('HSET', m, 'y', 1)
end
for i = HEAD_KEYS + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
for i = HEAD_ARGS + 1, #ARGV do redis.call('ZREM', a, ARGV[i]) end
local kept = redis.call('ZRANGE', a, 0, limit - 1)
if #kept > 0 then return { 'more', #kept, unpack(kept) } end

redis.call('UNLINK', m, e, v, x, k, w, l, a, s, g, y, KEYS[17], KEYS[18], KEYS[19], KEYS[20], KEYS[21], KEYS[22], KEYS[23], KEYS[24], KEYS[25], KEYS[26])
-- Messages of released runs outlive it: they are still to be claimed.
redis.call('PEXPIRE', t, digits(tonumber(ARGV[5]) / 1000))
for _, kind in ipairs({ 'end', 'expiry', 'idle', 'inbox', 'updates' }) do
  redis.call('ZREM', due, kind .. '\0\0' .. workflow .. '\0\0')
end
redis.call('ZREM', all, workflow)
return { 'done' }
