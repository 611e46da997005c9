-- Removes expired entries of one workflow. Whoever wrote an address again meanwhile has moved its expiry.
-- KEYS  1 m  2 e  3 v  4 x  5 k  6 due  7 l  8 s  9 g  10 w  11 a  12 z
-- ARGV  1 workflow  2 commit id  3 limit  4 records kept in the log
-- Returns {expired, kept, 1 if more is due, address to be fanned out...}; kept: nothing was due any more.
-- Cost  O(limit * log N)
--@include clock
--@include condition
--@include waiters
--@include log
--@include note_gone
local m, e, v, x, k, due, l, s, g = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local member = 'expiry\0\0' .. ARGV[1] .. '\0\0'
local head = redis.call('HMGET', m, 'r', 'k', 'f', 'b')
if not head[1] then
  redis.call('ZREM', due, member)
  return { 0, 0, 0 }
end
local now = clock_now(head[2])
local expired = redis.call('ZRANGEBYSCORE', x, '-inf', digits(now), 'LIMIT', 0, tonumber(ARGV[3]))
local stamps = #expired > 0 and redis.call('HMGET', v, unpack(expired)) or {}
local floor, bytes, logged = tonumber(head[3]), tonumber(head[4]), { '', now }
for i, address in ipairs(expired) do
  bytes = bytes - redis.call('HSTRLEN', e, address)
  local version = stamps[i] and struct.unpack('>d', stamps[i]) or 0
  floor = math.max(floor, version)
  local flags = stamps[i] and #stamps[i] == 25 and string.byte(stamps[i], 17) or 0
  for _, part in ipairs({ 'x', address, version, version, flags }) do logged[#logged + 1] = part end
end
redis.call('ZCARD', k)
redis.call('XLEN', l)
redis.call('ZCARD', s)
redis.call('HLEN', g)
redis.call('ZCARD', due)
redis.call('ZCARD', KEYS[11])
redis.call('ZCARD', KEYS[12])
-- What goes may bring to light what stands further out, or is what somebody wants to know of: who judges is told.
local w, gone, pending = KEYS[10], {}, {}
if redis.call('ZCARD', w) > 0 then
  for i, address in ipairs(expired) do gone[i] = address end
  add_prefixes(w, gone)
  for _, address in ipairs(gone) do
    if #waiting_on(w, address, 1) > 0 then pending[#pending + 1] = address end
  end
end

if #expired > 0 then
  redis.call('HDEL', e, unpack(expired))
  redis.call('HDEL', v, unpack(expired))
  redis.call('ZREM', k, unpack(expired))
  redis.call('ZREM', x, unpack(expired))
  redis.call('ZREM', s, unpack(expired))
  redis.call('HDEL', g, unpack(expired))
  note_gone(KEYS[11], KEYS[12], tonumber(head[1]) + 1, expired)
  write_log(l, ARGV[4], tonumber(head[1]) + 1, ARGV[2], logged)
  redis.call('HSET', m, 'r', digits(tonumber(head[1]) + 1), 'c', ARGV[2], 'k', digits(now),
    'f', digits(floor), 'b', digits(bytes))
end
for _, address in ipairs(pending) do
  redis.call('ZADD', due, digits(now), 'fan_out\0\0' .. ARGV[1] .. '\0\0' .. address)
end
local next_expiry = redis.call('ZRANGE', x, 0, 0, 'WITHSCORES')[2]
if next_expiry then
  redis.call('ZADD', due, next_expiry, member)
else
  redis.call('ZREM', due, member)
end
local more = next_expiry and tonumber(next_expiry) <= now and 1 or 0
return { #expired, #expired == 0 and 1 or 0, more, unpack(pending) }
