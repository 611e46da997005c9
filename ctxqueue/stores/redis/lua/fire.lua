-- Releases a parked run.
-- KEYS  1 m  2 w  3 t  4 due  5 out  6 msg  7 y
-- ARGV  1 workflow  2 run  3 app to which a message of its own comes back leased  4 lease us
--       5 message to send in the place of the stored one, or ''
-- Returns {1, item, message}, {1} or {0}.
-- Cost  O(witness * log waiters)
--@include clock
--@include condition
--@include waiters
local m, w, t, due, out, msg, y = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local now = clock_now(redis.call('HGET', m, 'k'))
local packed = redis.call('HGET', t, 'c:' .. ARGV[2])
redis.call('ZCARD', w)
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
redis.call('ZCARD', y)
if not packed then return { 0 } end
if ARGV[5] ~= '' then redis.call('HSET', t, 'm:' .. ARGV[2], ARGV[5]) end
local fires = { [ARGV[2]] = cmsgpack.unpack(string.sub(packed, 5)) }
local _, outgoing = carry_out(fires, {}, w, t, y, due, out, msg, ARGV[1], now, ARGV[3], tonumber(ARGV[4]))
return { 1, unpack(outgoing) }
