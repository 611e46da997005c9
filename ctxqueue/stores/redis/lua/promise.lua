-- Keeps the message of a run that is about to be published, to be sent again until it is claimed.
-- KEYS  1 run's record  2 m  3 t  4 due
-- ARGV  1 workflow  2 run  3 item id  4 message  5 us until it is sent again  6 us until it is given up
-- Returns 1, or 0 if the run was claimed at this position or a later one.
-- Cost  O(log N)
-- run's record: see claim.lua.  t, due: see released.lua.
--@include clock
--@include released
local m, t, due = KEYS[2], KEYS[3], KEYS[4]
local found = redis.call('HMGET', KEYS[1], 's', 'q', 'g')
local head = redis.call('HMGET', m, 'i', 'k')
local now, keep_for = clock_now(head[2]), tonumber(ARGV[6])
local retries, leg = position_of(ARGV[3])
redis.call('HLEN', t)
redis.call('ZCARD', due)
if found[1] then
  local at, at_leg = tonumber(found[2]), tonumber(found[3])
  if at > retries or (at == retries and at_leg >= leg) then return 0 end
end
local expiry = redis.call('PTTL', t)
keep_until_claimed(t, due, ARGV[1], ARGV[2], ARGV[3], ARGV[4], now, tonumber(ARGV[5]), now + keep_for)
-- Without a workflow nothing else would ever end it.
if not head[1] and expiry < keep_for / 1000 then
  redis.call('PEXPIRE', t, digits(keep_for / 1000 + 1))
end
return 1
