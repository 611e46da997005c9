-- Notes that parts of what a trigger has sent have come to their end; after the last one it may fire again.
-- KEYS  1 m  2 t  3 due
-- ARGV  1 workflow  2 trigger  3 which firing  4 how many parts there are  5 lease us  then the parts
-- Returns 1 if that was the last one, else 0.
-- Cost  O(parts)
--@include clock
--@include condition
--@include waiters
--@include recurring
local t, due, trigger = KEYS[2], KEYS[3], ARGV[2]
local shown = redis.call('HGET', KEYS[1], 'k')
local packed = redis.call('HGET', t, 'c:' .. trigger)
redis.call('ZCARD', due)
local parked = packed and cmsgpack.unpack(string.sub(packed, 5))
local repeats = parked and parked[8]
if not repeats or repeats[1] ~= tonumber(ARGV[3]) or repeats[2] == 0 then return 0 end
local ended = {}
for _, part in ipairs(repeats[4]) do ended[part] = true end
for i = 6, #ARGV do
  local part = tonumber(ARGV[i])
  if not ended[part] then
    ended[part] = true
    repeats[4][#repeats[4] + 1] = part
  end
end
local over = #repeats[4] >= tonumber(ARGV[4])
if over then
  repeats[2] = 0
  local at = digits(clock_now(shown) + tonumber(ARGV[5]))
  redis.call('ZADD', due, 'LT', at, 'judge\0\0' .. ARGV[1] .. '\0\0' .. trigger)
end
save_parked(t, trigger, struct.unpack('>I4', packed), parked)
return over and 1 or 0
