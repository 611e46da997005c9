-- Leases outbox items of one app.
-- KEYS  1 out  2 msg
-- ARGV  1 app  2 limit  3 lease us
-- Returns {item, message, ...}.
-- Cost  O(items looked at, at most 10,000)
-- out  zset  item "<app>\0<workflow>\0<run>\0<leg>", scored by when it may be taken     msg  hash  item -> message
--@include clock
local now = clock_now(0)
local prefix = ARGV[1] .. '\0'
local taken = {}
-- Those of an app that is gone for good must not hide ours behind them.
for first = 0, 9000, 1000 do
  local items = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(now), 'LIMIT', first, 1000)
  for _, item in ipairs(items) do
    if #taken < 2 * tonumber(ARGV[2]) and string.sub(item, 1, #prefix) == prefix then
      taken[#taken + 1] = item
      taken[#taken + 1] = redis.call('HGET', KEYS[2], item)
    end
  end
  if #items < 1000 or #taken >= 2 * tonumber(ARGV[2]) then break end
end
for i = 1, #taken, 2 do redis.call('ZADD', KEYS[1], digits(now + tonumber(ARGV[3])), taken[i]) end
return taken
