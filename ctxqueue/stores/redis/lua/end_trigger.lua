-- Writes down how a trigger ended; one that waits waits no more.
-- KEYS  1 j  2 o  3 t  4 w  5 due  6 m
-- ARGV  1 workflow  2 trigger  3 state  4 reason  5 1 only if it is armed  6 1 to keep nothing of it
-- Returns 1, or 0 if nothing was done.
-- Cost  O(witness * log waiters)
-- j, o: see triggers.lua.  w, t, due: see waiters.lua.  m: see recurring.lua.
--@include clock
--@include condition
--@include waiters
--@include triggers
--@include recurring
local j, o, t, w, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local trigger = ARGV[2]
local packed, waiting = redis.call('HGET', j, trigger), redis.call('HGET', t, 'c:' .. trigger)
redis.call('LLEN', o)
redis.call('ZCARD', w)
redis.call('ZCARD', due)
redis.call('HLEN', KEYS[6])
-- A caller that waits has no record.
if not waiting and (not packed or ARGV[5] == '1') then return 0 end
if waiting then
  local parked = cmsgpack.unpack(string.sub(waiting, 5))
  stop_waiting(w, t, due, ARGV[1], trigger, parked)
  if parked[8] then count_of_family(KEYS[6], trigger, -1) end
end
if packed and ARGV[6] == '1' then
  redis.call('HDEL', j, trigger)
  redis.call('LREM', o, 1, trigger)
elseif packed then
  write_ended(j, o, trigger, packed, ARGV[3], ARGV[4])
end
return 1
