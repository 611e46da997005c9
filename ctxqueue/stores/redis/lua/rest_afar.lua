-- Puts off the judging of a run of another workflow, unless one of its addresses was written since it was registered.
-- KEYS  1 m  2 w  3 due
-- ARGV  1 workflow  2 watcher  3 us until it is judged anyhow  then the addresses
-- Returns 1, or 0 if it is to be judged again.
-- Cost  O(addresses)
--@include clock
local again = digits(clock_now(redis.call('HGET', KEYS[1], 'k')) + tonumber(ARGV[3]))
redis.call('ZCARD', KEYS[3])
for i = 4, #ARGV do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i] .. '\0\0' .. ARGV[2]) then return 0 end
end
redis.call('ZADD', KEYS[3], again, 'judge\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
return 1
