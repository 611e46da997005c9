-- Messages that are to be sent again until their run is claimed at their position or a later one, in two forms that
-- change together:
--   t   hash  "n:<run>" -> msgpack {item id, first sent us, times sent again, message, ends us}; without
--             the last, that is a horizon after it was first sent
--   due zset  "ready\0\0<workflow>\0\0<run>", scored by when it is sent again

-- Of the message that an outbox item holds; the item's id ends in it.
local function position_of(item)
  local retries, leg = string.match(item, '(%d+)%.(%d+)$')
  return tonumber(retries), tonumber(leg)
end

local function is_before(item, retries, leg)
  local its_retries, its_leg = position_of(item)
  return its_retries < retries or (its_retries == retries and its_leg < leg)
end

-- Keeps a message, unless one of a later position is kept.
local function keep_until_claimed(t, due, workflow, run, item, message, now, wait, ends)
  local kept = redis.call('HGET', t, 'n:' .. run)
  if kept and is_before(item, position_of(cmsgpack.unpack(kept)[1])) then return end
  redis.call('HSET', t, 'n:' .. run, cmsgpack.pack({ item, now, 0, message, ends }))
  redis.call('ZADD', due, digits(now + wait), 'ready\0\0' .. workflow .. '\0\0' .. run)
end

local function keep_no_more(t, due, workflow, run)
  redis.call('HDEL', t, 'n:' .. run)
  redis.call('ZREM', due, 'ready\0\0' .. workflow .. '\0\0' .. run)
end
