-- Ends an attempt.
-- KEYS  1 run's record
-- ARGV  1 epoch  2 state (done|failed|retried)  3 outcome  4 horizon ms
-- Returns 1, or 0 if the attempt was superseded.
-- Cost  O(1)
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[2], 'o', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
