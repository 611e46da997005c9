-- Writes some addresses as one revision, together with journal, waiters and outbox: all of it or nothing.
-- KEYS  1 m  2 e  3 v  4 x  5 k  6 w  7 t  8 due  9 out  10 msg  11 journal  12 run's record
-- ARGV  1 workflow  2 agent  3 commit id  4 journal mode (lane|run|operation)  5 call id  6 digest
--       7 on divergence (first|apply|error)  8 journal expiry ms  9 epoch ('' outside tasks)
--       10 app whose fired items come back leased  11 lease us  12 max entries  13 max bytes
--       14 max fields of a run's record and journal  15 max bytes of a merge in here
--       then for each write 8: operation, address, expected version ('' any), expected commit ('' any),
--       meta, value, ttl us ('' none), 1 to keep the expiry
-- Returns {'ok', revision, now, replayed, diverged, fired, commit id, n, version..., p, pending address..., item, message...}
--       (if diverged under an operation id, the first call's addresses in the place of pending ones)
--       {'conflict', now, ordinal, record or false or 0 (left out), ...}  or {reason, detail}
-- Cost  O(writes * log N); at most 50 waiters are looked at, more are left to fan_out.lua
-- e  hash  address -> record (header >BddddHH8s: codec, version, revision, written, expires, sizes, commit id)
-- v  hash  address -> stamp (>ddc8: version, expires or 0, commit id)     x  zset  address by expiry
-- k  zset  addresses, all scores 0
-- journal  lane: string, number of the newest call (>d) and its outcome; else hash, c:<call> -> outcome; it expires
-- run's record  hash  see claim.lua; here only e, the newest epoch seen
--@include clock
--@include condition
--@include waiters
local m, e, v, x, k, w, t, due, out, msg = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local journal, record_of_run = KEYS[11], KEYS[12]
local mode, call, digest, epoch = ARGV[4], ARGV[5], ARGV[6], ARGV[9]
local FIRST, STEP, INLINE_WAITERS, CONFLICT_BYTES = 16, 8, 50, 262144

-- Read ---------------------------------------------------------------------------------------------------------

local head = redis.call('HMGET', m, 'r', 'k', 'f', 'b')
if not head[1] then return { 'no_workflow', '' } end
local now = clock_now(head[2])

local seen_epoch = epoch ~= '' and redis.call('HGET', record_of_run, 'e')
if seen_epoch and tonumber(seen_epoch) > tonumber(epoch) then return { 'superseded', seen_epoch } end

local outcome
if mode == 'lane' then
  local newest = redis.call('GET', journal)
  local number = newest and struct.unpack('>d', newest) or 0
  if number > tonumber(call) then return { 'stale', digits(number) } end
  if number == tonumber(call) then outcome = string.sub(newest, 9) end
else
  outcome = redis.call('HGET', journal, 'c:' .. call)
end
if outcome then
  local first = cmsgpack.unpack(outcome)
  local diverged = first[1] ~= digest
  if diverged and ARGV[7] == 'error' then return { 'diverged', '' } end
  if not (diverged and ARGV[7] == 'apply') then
    local reply = { 'ok', first[2], first[3], 1, diverged and 1 or 0, 0, first[4], #first[5] }
    for _, version in ipairs(first[5]) do reply[#reply + 1] = version end
    local named = diverged and first[6] or {}
    reply[#reply + 1] = #named
    for _, address in ipairs(named) do reply[#reply + 1] = address end
    return reply
  end
end
if mode == 'run' and redis.call('HLEN', journal) >= tonumber(ARGV[14]) then return { 'calls', ARGV[14] } end

local count = (#ARGV - FIRST + 1) / STEP
local addresses = {}
for i = 1, count do addresses[i] = ARGV[FIRST + (i - 1) * STEP + 1] end
local stamps = redis.call('HMGET', v, unpack(addresses))

-- Decide -------------------------------------------------------------------------------------------------------

local revision, base, bytes = tonumber(head[1]) + 1, tonumber(head[3]), tonumber(head[4])
local floor = base
local versions, records, deleted, known = {}, {}, {}, {}
local expires_at, expired_at, expiries_change, earliest = {}, {}, false, nil
local conflicts, conflict_bytes, changes, added, removed = {}, 0, 0, 0, 0

local function array_header(size)
  if size < 16 then return string.char(0x90 + size) end
  if size < 65536 then return struct.pack('>BH', 0xdc, size) end
  return struct.pack('>BI4', 0xdd, size)
end

-- Returns the number of items of a packed list and where they begin, or nothing if it is no list.
local function open_array(packed)
  local first = string.byte(packed, 1)
  if first >= 0x90 and first <= 0x9f then return first - 0x90, 2 end
  if first == 0xdc then return struct.unpack('>H', string.sub(packed, 2, 3)), 4 end
  if first == 0xdd then return struct.unpack('>I4', string.sub(packed, 2, 5)), 6 end
end

for i = 1, count do
  local at = FIRST + (i - 1) * STEP
  local operation, address, expected, expected_commit = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local meta, value, ttl, keep = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7] == '1'
  local stamp, version, expiry = stamps[i], 0, 0
  if stamp then version, expiry = struct.unpack('>dd', stamp) end
  local fresh = stamp and (expiry == 0 or expiry > now)
  expired_at[i] = expiry
  if (expected ~= '' and tonumber(expected) ~= (fresh and version or 0))
    or (expected_commit ~= '' and fresh and string.sub(stamp, -8) ~= expected_commit) then
    local current = fresh and redis.call('HGET', e, address)
    if current and conflict_bytes + #current > CONFLICT_BYTES then current = 0 end
    conflict_bytes = conflict_bytes + (current and current ~= 0 and #current or 0)
    conflicts[#conflicts + 1] = i - 1
    conflicts[#conflicts + 1] = current
  elseif operation == 'delete' then
    versions[i] = fresh and version or 0
    if stamp then
      deleted[i] = true
      changes = changes + 1
      removed = removed + 1
      floor = math.max(floor, version)
      bytes = bytes - redis.call('HSTRLEN', e, address)
      expiries_change = expiries_change or expiry > 0
      if fresh then known[address] = false end
    end
  else
    local expires = ttl ~= '' and now + tonumber(ttl) or keep and fresh and expiry or 0
    if fresh and (operation == 'set' or operation == 'append') then
      local old = redis.call('HGET', e, address)
      local agent_size, meta_size = struct.unpack('>HH', string.sub(old, 34, 37))
      local meta_from = 46 + agent_size
      meta = string.sub(old, meta_from, meta_from + meta_size - 1)
      if operation == 'append' then
        local held = string.sub(old, meta_from + meta_size)
        if #held + #value > tonumber(ARGV[15]) then return { 'too_large', tostring(i - 1) } end
        local held_size, held_from = open_array(held)
        if not held_size then return { 'not_a_list', tostring(i - 1) } end
        local new_size, new_from = open_array(value)
        value = array_header(held_size + new_size) .. string.sub(held, held_from) .. string.sub(value, new_from)
      end
    end
    versions[i] = (stamp and version or base) + 1
    records[i] = struct.pack('>BddddHHc8', 1, versions[i], revision, now, expires, #ARGV[2], #meta, ARGV[3])
      .. ARGV[2] .. meta .. value
    expires_at[i] = expires
    changes = changes + 1
    bytes = bytes + #records[i] - redis.call('HSTRLEN', e, address)
    if not stamp then added = added + 1 end
    expiries_change = expiries_change or expires > 0 or expiry > 0
    if expires > 0 and (not earliest or expires < earliest) then earliest = expires end
    known[address] = true
  end
end
if #conflicts > 0 then return { 'conflict', digits(now), unpack(conflicts) } end
-- A workflow that is over a limit, as a lowered one may leave it, can still be written to and shrunk.
if added > removed then
  local entries = redis.call('HLEN', v) + added - removed
  if entries > tonumber(ARGV[12]) then return { 'entries', digits(entries) } end
end
if bytes > tonumber(ARGV[13]) and bytes > tonumber(head[4]) then return { 'bytes', digits(bytes) } end

local fires, moves, pending = {}, {}, {}
if redis.call('ZCARD', w) > 0 then
  local looked_at, budget = 0, LEAF_BUDGET
  for i = 1, count do
    if records[i] and budget < 0 then
      pending[#pending + 1] = addresses[i]
    elseif records[i] then
      local runs = waiting_on(w, addresses[i], INLINE_WAITERS - looked_at + 1)
      if looked_at + #runs > INLINE_WAITERS then
        pending[#pending + 1] = addresses[i]
      else
        looked_at = looked_at + #runs
        budget = consider(runs, known, t, v, now, fires, moves, budget)
        if budget < 0 then pending[#pending + 1] = addresses[i] end
      end
    end
  end
  redis.call('ZCARD', due)
  redis.call('ZCARD', out)
  redis.call('HLEN', msg)
end
-- Every key that is written below has been read above or is here, so that one of a wrong type stops us now.
if added + removed > 0 then redis.call('ZCARD', k) end
if expiries_change then redis.call('ZCARD', x) end
if earliest then redis.call('ZCARD', due) end

-- Write --------------------------------------------------------------------------------------------------------

if changes > 0 then
  local for_e, for_v, for_k = {}, {}, {}
  for i = 1, count do
    local address = addresses[i]
    if records[i] then
      for_e[#for_e + 1] = address
      for_e[#for_e + 1] = records[i]
      for_v[#for_v + 1] = address
      for_v[#for_v + 1] = struct.pack('>ddc8', versions[i], expires_at[i], ARGV[3])
      if not stamps[i] then
        for_k[#for_k + 1] = 0
        for_k[#for_k + 1] = address
      end
      if expires_at[i] > 0 then
        redis.call('ZADD', x, digits(expires_at[i]), address)
      elseif expired_at[i] > 0 then
        redis.call('ZREM', x, address)
      end
    elseif deleted[i] then
      redis.call('HDEL', e, address)
      redis.call('HDEL', v, address)
      redis.call('ZREM', k, address)
      redis.call('ZREM', x, address)
    end
  end
  if #for_e > 0 then
    redis.call('HSET', e, unpack(for_e))
    redis.call('HSET', v, unpack(for_v))
  end
  if #for_k > 0 then redis.call('ZADD', k, unpack(for_k)) end
  redis.call('HSET', m, 'r', digits(revision), 'c', ARGV[3], 'k', digits(now), 'f', digits(floor), 'b', digits(bytes))
  if earliest then redis.call('ZADD', due, 'LT', digits(earliest), 'expiry\0\0' .. ARGV[1] .. '\0\0') end
else
  revision = revision - 1
end

local fired, outgoing = carry_out(fires, moves, w, t, due, out, msg, ARGV[1], now, ARGV[10], tonumber(ARGV[11]))
for _, address in ipairs(pending) do
  redis.call('ZADD', due, digits(now), 'fan_out\0\0' .. ARGV[1] .. '\0\0' .. address)
end

local kept = cmsgpack.pack({ digest, revision, now, ARGV[3], versions, mode == 'operation' and addresses or nil })
if mode == 'lane' then
  redis.call('SET', journal, struct.pack('>d', call) .. kept, 'PX', ARGV[8])
else
  redis.call('HSET', journal, 'c:' .. call, kept)
  if redis.call('PTTL', journal) < 0 then redis.call('PEXPIRE', journal, ARGV[8]) end
end
if epoch ~= '' and seen_epoch ~= epoch then
  redis.call('HSET', record_of_run, 'e', epoch)
  if redis.call('PTTL', record_of_run) < 0 then redis.call('PEXPIRE', record_of_run, ARGV[8]) end
end

local reply = { 'ok', digits(revision), digits(now), 0, 0, fired, ARGV[3], count }
for i = 1, count do reply[#reply + 1] = digits(versions[i]) end
reply[#reply + 1] = #pending
for _, address in ipairs(pending) do reply[#reply + 1] = address end
for _, part in ipairs(outgoing) do reply[#reply + 1] = part end
return reply
