-- Parked and released runs, in forms that change together:
--   w  zset, all scores 0   member "<address>\0\0<run>" for each address of the run's witness
--   t  hash                 "c:<run>" -> number of addresses in the condition (>I4), then
--                           msgpack {item id, deadline us, condition, witness, parked us, what judges it, turn,
--                           of one that fires each time: see recurring.lua}; the witness of a judged one is empty
--                           from when it is told until it is registered anew; its turn rises with both
--   a run of another workflow is "\1<its workflow>\1<its run>" in w, and taken off the address that is written
--                           "m:<run>" -> the message to send once the condition holds; not of one that fires each time
--                           "l:<run>" -> of a trigger: the one to send in its place when the time is up
--                           "n:<run>" -> of a run that was released and is not claimed yet: see released.lua
--   due zset                "deadline\0\0<workflow>\0\0<run>", scored by the deadline; "ready...": see released.lua
-- and, of those whose condition has come true lately:
--   y  zset                 msgpack condition, scored by until when what it waits for is not evicted
-- An address ends in a key, which holds no \0, so no address is the beginning of another one's members.

local function waiting_on(w, address, limit)
  local members = redis.call('ZRANGEBYLEX', w, '[' .. address .. '\0\0', '(' .. address .. '\0\1', 'LIMIT', 0, limit)
  local runs = {}
  for i, member in ipairs(members) do runs[i] = string.sub(member, #address + 3) end
  return runs
end

-- What begins addresses that stand for all whose key begins in some way.
local OF_PREFIX = '\2'

-- The addresses of that kind that somebody waits on.
local function prefixes_waited_on(w)
  local found, from = {}, '[' .. OF_PREFIX
  while true do
    local member = redis.call('ZRANGEBYLEX', w, from, '(\3', 'LIMIT', 0, 1)[1]
    if not member then return found end
    found[#found + 1] = string.match(member, '^(.-)%z%z')
    from = '(' .. found[#found] .. '\0\1'
  end
end

-- Adds to addresses that were written or have gone those of that kind which stand for some of them.
local function add_prefixes(w, addresses)
  local count = #addresses
  for _, address in ipairs(count > 0 and prefixes_waited_on(w) or {}) do
    local prefix = string.sub(address, 2)
    for i = 1, count do
      if string.sub(string.match(addresses[i], '[^%z]*$'), 1, #prefix) == prefix then
        addresses[#addresses + 1] = address
        break
      end
    end
  end
end

local function unregister(w, run, addresses)
  for _, address in ipairs(addresses) do redis.call('ZREM', w, address .. '\0\0' .. run) end
end

local function register(w, run, addresses)
  for _, address in ipairs(addresses) do redis.call('ZADD', w, 0, address .. '\0\0' .. run) end
end

-- So many addresses of conditions are looked at in one script, but one condition at least.
local LEAF_BUDGET = 2000

-- Whether the addresses stand for keys by how they begin, and as many such are waited on as each commit can look at.
local MOST_PREFIXES = 50
local function too_many_prefixes(w, addresses)
  local new, count = {}, 0
  for _, address in ipairs(addresses) do
    if string.sub(address, 1, 1) == OF_PREFIX and not new[address] then new[address], count = true, count + 1 end
  end
  if count == 0 then return false end
  for _, address in ipairs(prefixes_waited_on(w)) do
    if not new[address] then count = count + 1 end
  end
  return count > MOST_PREFIXES
end

-- Decides, for runs, which fire and which wait on: fills `fires` and `moves`. Reads only. Returns what is left of
-- the budget; below zero, some runs were not looked at.
local function consider(runs, known, t, v, now, fires, moves, budget)
  for _, run in ipairs(runs) do
    if fires[run] == nil and moves[run] == nil then
      local packed = redis.call('HGET', t, 'c:' .. run)
      if packed then
        local size = struct.unpack('>I4', packed)
        if budget < size and budget < LEAF_BUDGET then return -1 end
        budget = math.max(0, budget - size)
        local parked = cmsgpack.unpack(string.sub(packed, 5))
        parked.size = size
        local judged = parked[3][1] == 'j'
        if not judged then learn(known, addresses_of(parked[3], {}), v, now) end
        if judged then
          moves[run], parked.judged, parked.witness = parked, true, {}
        elseif holds(parked[3], known) then
          fires[run] = parked
        else
          moves[run] = parked
          parked.witness = witness(parked[3], known, {})
        end
      end
    end
  end
  return budget
end

--@include released
-- Puts a message in the outbox. An item id begins with the app: "<app>\0<workflow>\0<run>\0<leg>".
local WAKE = 'ctxqueue:wake:'
local function send(out, msg, item, message, from)
  redis.call('ZADD', out, from, item)
  redis.call('HSET', msg, item, message)
end

-- Whether a parked run is judged elsewhere.
local function is_judged(t, run)
  local packed = redis.call('HGET', t, 'c:' .. run)
  return packed and cmsgpack.unpack(string.sub(packed, 5))[3][1] == 'j'
end

-- Takes runs of other workflows out of those that wait for an address, and notes them.
local AFAR = '\1'
local function set_apart(address, runs, afar)
  local near = {}
  for _, run in ipairs(runs) do
    if string.sub(run, 1, 1) == AFAR then afar[#afar + 1] = { address, run } else near[#near + 1] = run end
  end
  return near
end

-- Makes them due to be judged, and adds them to those that are.
local function tell_afar(afar, w, due, workflow, now, lease, judged)
  local told = {}
  for _, each in ipairs(afar) do
    unregister(w, each[2], { each[1] })
    if not told[each[2]] then
      told[each[2]] = true
      redis.call('ZADD', due, digits(now + lease), 'judge\0\0' .. workflow .. '\0\0' .. each[2])
      judged[#judged + 1] = each[2]
    end
  end
end

-- Forgets a parked run.
local function stop_waiting(w, t, due, workflow, run, parked)
  redis.call('HDEL', t, 'c:' .. run, 'm:' .. run, 'l:' .. run)
  redis.call('ZREM', due, 'deadline\0\0' .. workflow .. '\0\0' .. run)
  if parked[6] then redis.call('ZREM', due, 'judge\0\0' .. workflow .. '\0\0' .. run) end
  unregister(w, run, parked[4])
end

-- Sends the message of a run that is released, and keeps it until it is claimed; or wakes who waits by that name.
local function let_go(t, due, out, msg, workflow, run, item, message, from, now, lease)
  if string.sub(item, 1, #WAKE) == WAKE then
    local channel = string.match(item, '^[^%z]*')
    redis.call('PUBLISH', channel, '')
  else
    send(out, msg, item, message, digits(from))
    keep_until_claimed(t, due, workflow, run, item, message, now, lease)
  end
end

-- A released run has so many leases to come and read what it waited for.
local GUARDED_LEASES = 10

-- Carries out what `consider` decided. Returns how many fired, {item, message} of `app`'s, which it leases, and the
-- runs that are to be judged.
local function carry_out(fires, moves, w, t, y, due, out, msg, workflow, now, app, lease)
  local outgoing, fired, judged = {}, 0, {}
  if next(fires) then redis.call('ZREMRANGEBYSCORE', y, '-inf', digits(now)) end
  for run, parked in pairs(fires) do
    redis.call('ZADD', y, digits(now + GUARDED_LEASES * lease), cmsgpack.pack(parked[3]))
    local message = redis.call('HGET', t, 'm:' .. run)
    local from = now
    if app ~= '' and #outgoing < 100 and string.sub(parked[1], 1, #app + 1) == app .. '\0' then
      from = now + lease
      outgoing[#outgoing + 1] = parked[1]
      outgoing[#outgoing + 1] = message
    end
    let_go(t, due, out, msg, workflow, run, parked[1], message, from, now, lease)
    stop_waiting(w, t, due, workflow, run, parked)
    fired = fired + 1
  end
  for run, parked in pairs(moves) do
    unregister(w, run, parked[4])
    register(w, run, parked.witness)
    if parked.judged then
      judged[#judged + 1] = run
      -- One that fires each time is judged by processes of its own app alone: by their next sweep.
      local at = parked[8] and string.sub(parked[1], 1, #app + 1) ~= app .. '\0' and now or now + lease
      redis.call('ZADD', due, digits(at), 'judge\0\0' .. workflow .. '\0\0' .. run)
    end
    local turn = parked.judged and (parked[7] or 0) + 1 or nil
    local kept = { parked[1], parked[2], parked[3], parked.witness, parked[5], parked[6], turn, parked[8] }
    redis.call('HSET', t, 'c:' .. run, struct.pack('>I4', parked.size) .. cmsgpack.pack(kept))
  end
  return fired, outgoing, judged
end
