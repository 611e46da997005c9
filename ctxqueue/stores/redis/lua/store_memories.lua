-- Stores memories, each unless a live one of its id is there.
-- KEYS  1 m  2 e  3 n  4 l  5 d  6 x  7 a1  8 a2  9 a3  10 u1  11 u2  12 u3
-- ARGV  1 incarnation of a new owner  2 model ('' for rows that have no vector yet)  3 1 to make it the owner's
--       4 number of rows
--       then for each row 5: id, kind (1-3), 1 if pinned, ttl us ('' none), body
-- Returns {now, made (1 or 0), born, ...}, or {now, model} if the owner's is another one
-- Cost  O(rows * log N)
-- m, e, n, l, d, x, a, u: see memory.lua.
--@include clock
--@include memory
local m, e, n, l, d, x = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local head = redis.call('HMGET', m, 's', 'o', 'k')
local now = clock_now(head[3])
local adopt = ARGV[3] == '1'
local claims = head[1] and ARGV[2] ~= '' and head[2] ~= ARGV[2]
if claims and head[2] ~= '' and not adopt then return { digits(now), head[2] } end
check_types({ n }, { l, d, x, KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12] })
local reply, number, standing = { digits(now) }, tonumber(head[1]) or 0, {}
for row = 1, tonumber(ARGV[4]) do
  local id = ARGV[row * 5]
  standing[row] = redis.call('HGET', e, id)
end
local taken, rows = {}, {}
for row = 1, tonumber(ARGV[4]) do
  local id, kind, pinned, ttl = ARGV[row * 5], tonumber(ARGV[row * 5 + 1]), ARGV[row * 5 + 2], ARGV[row * 5 + 3]
  local live, born = taken[id], taken[id]
  if not live and standing[row] then
    local _, its_birth, _, expires, _, flags = stamp_of(standing[row])
    live, born = flags < SUPERSEDED and (expires == 0 or expires > now), its_birth
  end
  if live then
    reply[#reply + 1] = 0
  else
    number = number + 1
    born, taken[id] = number, number
    local expires = ttl ~= '' and now + tonumber(ttl) or 0
    rows[#rows + 1] = { id, kind, pinned == '1' and PINNED or 0, expires, ARGV[row * 5 + 4], number }
    reply[#reply + 1] = 1
  end
  reply[#reply + 1] = digits(born)
end

if #rows > 0 or adopt or claims then
  if not head[1] then redis.call('HSET', m, 'i', ARGV[1], 'f', 0) end
  local model = ARGV[2] ~= '' and ARGV[2] or head[2] or ''
  redis.call('HSET', m, 'o', model, 's', digits(number), 'k', digits(now))
end
for _, row in ipairs(rows) do
  local id, i, flags, expires = row[1], row[2], row[3], row[4]
  redis.call('HSET', e, id, stamped(row[6], row[6], now, expires, i, flags) .. row[5])
  redis.call('HDEL', n, id)
  redis.call('ZADD', l, digits(row[6]), id)
  redis.call('ZREM', d, id)
  redis.call('ZREM', x, id)
  if expires > 0 then redis.call('ZADD', x, digits(expires), id) end
  if flags == PINNED then
    redis.call('ZREM', KEYS[AGED + i], id)
    redis.call('ZREM', KEYS[USED + i], id)
  else
    redis.call('ZADD', KEYS[AGED + i], digits(now), id)
    redis.call('ZADD', KEYS[USED + i], use_order(0, now), id)
  end
end
return reply
