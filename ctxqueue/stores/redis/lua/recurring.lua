-- Triggers and subscriptions that fire each time stand among the parked runs and stay there; beside what others have:
--   t  hash  "c:<run>" -> at the 8th place {how often it has fired, until when the end of what it sent last is waited
--            for (0 nobody waits, or it has come), depth of what was written meanwhile (0 nothing), parts that ended}
--   j  hash  trigger -> at the 4th place what the last look at it left
--   m  hash  "f:<family>" -> how many of them there are; "lasting" -> how many of all do not keep the workflow
--   f  hash  agent -> msgpack list of what it was notified of, the oldest first
-- A family is what ids begin with, up to the first "-"; one that begins with "~" is of those that wait for no end.

local function family_of(run)
  local family = string.match(run, '^([~+][^-]*)-')
  return family
end

local function count_of_family(m, run, by)
  local family = family_of(run)
  if string.sub(family, 1, 1) == '~' then redis.call('HINCRBY', m, 'lasting', by) end
  if redis.call('HINCRBY', m, 'f:' .. family, by) == 0 then redis.call('HDEL', m, 'f:' .. family) end
end

local function save_parked(t, run, size, parked)
  redis.call('HSET', t, 'c:' .. run, struct.pack('>I4', size) .. cmsgpack.pack(parked))
end
