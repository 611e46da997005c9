-- Triggers, in two forms that change together:
--   j  hash  trigger -> msgpack {state, reason, record, notes of one that fires each time}; one that is armed stands
--            among the parked runs, see waiters.lua and recurring.lua
--   o  list  those that have ended, the newest first

local KEPT_ENDED = 100

-- Returns {id, state, reason, record}. Between its firing and its end the record still says ARMED.
local function trigger_of(m, t, trigger, packed)
  local kept = cmsgpack.unpack(packed)
  local state = kept[1]
  if state == 'ARMED' then
    local waiting = redis.call('HGET', t, 'c:' .. trigger)
    local parked = waiting and cmsgpack.unpack(string.sub(waiting, 5))
    local repeats = parked and parked[8]
    if not waiting then
      state = 'FIRED'
    elseif repeats and repeats[2] > clock_now(redis.call('HGET', m, 'k')) then
      state = #parked[4] > 0 and repeats[3] == 0 and 'RUNNING' or 'RUNNING_DIRTY'
    end
  end
  return { trigger, state, kept[2], kept[3] }
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
