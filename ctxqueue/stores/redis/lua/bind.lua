-- Notes which run a Celery task is.
-- KEYS  1 task
-- ARGV  1 workflow  2 run  3 ms until this is forgotten
-- Returns 1 if somebody has marked it as cancelled, else 0.
-- Cost  O(1)
-- task  hash  w workflow, r run, z 1 if it is cancelled; expires as a whole
local marked = redis.call('HGET', KEYS[1], 'z')
redis.call('HSET', KEYS[1], 'w', ARGV[1], 'r', ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return marked and 1 or 0
