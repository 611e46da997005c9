-- Reads the memories that go first: expired ones, those that are too old, or those that are too many.
-- KEYS  1 e  2 n  3 x  4 a of the kind  5 u of the kind
-- ARGV  1 why (expired|aged|surplus)  2 age us  3 most rows  4 rows to pass over  5 limit  6 bytes to stop after
--       7 of expired ones, the instant from which on
-- Returns {now, how many there are, rows of the kind that are not pinned, id, row, uses or false, ...}
-- Cost  O(log N + rows passed over + limit)
-- e, n, x, a, u: see memory.lua.
--@include clock
local e, n, x, a, u = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, skip, limit = clock_now(false), tonumber(ARGV[4]), tonumber(ARGV[5])
local count, total, ids
if ARGV[1] == 'expired' then
  count, total = redis.call('ZCOUNT', x, '-inf', digits(now)), redis.call('HLEN', e)
  ids = redis.call('ZRANGEBYSCORE', x, ARGV[7], digits(now), 'LIMIT', skip, limit)
elseif ARGV[1] == 'aged' then
  local until_us = digits(now - tonumber(ARGV[2]))
  count, total = redis.call('ZCOUNT', a, '-inf', until_us), redis.call('ZCARD', a)
  ids = redis.call('ZRANGEBYSCORE', a, '-inf', until_us, 'LIMIT', skip, limit)
else
  total = redis.call('ZCARD', u)
  count = math.max(0, total - tonumber(ARGV[3]))
  local last = math.min(skip + limit, count) - 1
  ids = last >= skip and redis.call('ZRANGE', u, skip, last) or {}
end
local reply, bytes = { digits(now), count, total }, 0
for i, id in ipairs(ids) do
  if i > 1 and bytes > tonumber(ARGV[6]) then break end
  local row = redis.call('HGET', e, id)
  bytes = bytes + #row
  reply[#reply + 1] = id
  reply[#reply + 1] = row
  reply[#reply + 1] = redis.call('HGET', n, id)
end
return reply
