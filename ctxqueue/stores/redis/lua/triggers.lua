-- Triggers, in two forms that change together:
--   j  hash  trigger -> msgpack {state, reason, record}; one that is armed stands among the parked runs, see waiters.lua
--   o  list  those that have ended, the newest first

local KEPT_ENDED = 100

-- Returns {id, state, reason, record}. Between its firing and its end the record still says ARMED.
local function trigger_of(t, trigger, packed)
  local kept = cmsgpack.unpack(packed)
  local armed = redis.call('HEXISTS', t, 'c:' .. trigger) == 1
  return { trigger, kept[1] == 'ARMED' and not armed and 'FIRED' or kept[1], kept[2], kept[3] }
end

local function write_ended(j, o, trigger, packed, state, reason)
  local kept = cmsgpack.unpack(packed)
  redis.call('HSET', j, trigger, cmsgpack.pack({ state, reason, kept[3] }))
  redis.call('LREM', o, 1, trigger)
  if redis.call('LPUSH', o, trigger) > KEPT_ENDED then
    local oldest = redis.call('LRANGE', o, KEPT_ENDED, -1)
    redis.call('LTRIM', o, 0, KEPT_ENDED - 1)
    redis.call('HDEL', j, unpack(oldest))
  end
end
