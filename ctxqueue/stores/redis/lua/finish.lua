-- Ends an attempt.
-- KEYS  1 run's record
-- ARGV  1 epoch; 0: of whichever attempt runs at  5 retries  6 leg  2 state (done|failed|retried)  3 outcome  4 horizon ms
-- Returns 1, or 0 if the attempt was superseded.
-- Cost  O(1)
local found = redis.call('HMGET', KEYS[1], 'e', 's', 'q', 'g')
if ARGV[1] ~= '0' then
  -- A body that went on although its run was parked ends nothing: the run comes back.
  if found[1] ~= ARGV[1] or found[2] == 'parked' then return 0 end
elseif found[2] ~= 'running' or found[3] ~= ARGV[5] or found[4] ~= ARGV[6] then
  return 0
end
redis.call('HSET', KEYS[1], 's', ARGV[2], 'o', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
