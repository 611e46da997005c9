-- Writes a memory's body and flags anew, unless it has changed.
-- KEYS  1 m  2 e  3 n  4 l  5 a of its kind  6 u of its kind
-- ARGV  1 id  2 number of its last change  3 flags  4 successor that must be live ('' none)  5 body
-- Returns done, moved, gone or not_live
-- Cost  O(log N)
-- m, e, n, l, a, u: see memory.lua.
--@include clock
--@include memory
local m, e, n, l, a, u = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, flags = ARGV[1], tonumber(ARGV[3])
local head = redis.call('HMGET', m, 's', 'k')
local row = redis.call('HGET', e, id)
if not row then return 'gone' end
local now = clock_now(head[2])
local was, born, created, expires, kind = stamp_of(row)
if expires > 0 and expires <= now then return 'gone' end
if was ~= tonumber(ARGV[2]) then return 'moved' end
if ARGV[4] ~= '' then
  local successor = redis.call('HGET', e, ARGV[4])
  if not successor then return 'not_live' end
  local _, _, _, ends, _, its_flags = stamp_of(successor)
  if its_flags >= SUPERSEDED or (ends > 0 and ends <= now) then return 'not_live' end
end
local uses = uses_of(redis.call('HGET', n, id))
check_types({}, { l, a, u })
local number = tonumber(head[1]) + 1
redis.call('HSET', m, 's', digits(number), 'k', digits(now))
redis.call('HSET', e, id, stamped(number, born, created, expires, kind, flags) .. ARGV[5])
redis.call('ZADD', l, digits(number), id)
if flags % 2 == PINNED then
  redis.call('ZREM', a, id)
  redis.call('ZREM', u, id)
else
  redis.call('ZADD', a, digits(created), id)
  redis.call('ZADD', u, use_order(uses, created), id)
end
return 'done'
