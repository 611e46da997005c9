-- Writes some addresses as one revision, together with journal, log, history, waiters and outbox: all of it or nothing.
-- KEYS  1 m  2 e  3 v  4 x  5 k  6 w  7 t  8 due  9 out  10 msg  11 l  12 a  13 s  14 g  15 y  16 audit  17 z
--       18 journal  19 run's record, then h:<address> for each write, then, of a commit that settles updates or is a drain's,
--       u q i n and the journal of each settled update
-- ARGV  1 workflow  2 agent  3 commit id  4 journal mode (lane|run|operation)  5 call id  6 digest
--       7 on divergence (first|apply|error)  8 limits (>12d): journal expiry ms, lease us, max entries, max bytes, max
--       fields of a run's record and journal, max bytes of a merge in here, values kept of an address, records kept in
--       the log, horizon ms, records kept in the audit log (0 none), their age us, 1 to go on without a record
--       9 numbers (>BHHI4): 1 to write to a closed workflow too + 2 if values may be encrypted, number of writes, of
--       those that say more, updates that it settles  10 epoch ('' outside tasks)  11 app whose fired items come back
--       leased  12 graph epoch that must still be ('' any)  13 commit id that must still be the newest ('' any)
--       14 drain that must hold the inbox ('' none)  15 incarnation that the workflow must be of ('' any)  16 origin of
--       what is recorded
--       then for each write 7: operation, address, expected version ('' any), expected commit ('' any), meta, value,
--       flags + 8 to keep the expiry, as a byte
--       then for each that says more 4: ordinal of a write, ttl us ('' none), dependencies ('' none, else msgpack list
--       of keys), steps ('' one, else msgpack list of agent, flags, ...)
--       then for each settled update 7: id, kind (applied|failed|kept), digest, places (msgpack list of ordinal of a
--       write, later steps, ...), failure, item ('' no report), message
-- Returns {'ok', revision, now, replayed, diverged, fired, commit id, updates left in the queue, 1 if not recorded, n,
--       version..., p, pending address..., j, run to be judged..., item, message...}
--       (if diverged under an operation id, the first call's addresses in the place of pending ones)
--       {'conflict', now, ordinal, record or false or 0 (left out), ...}  or {reason, detail}
-- Cost  O((writes + steps + settled updates) * log N); at most 50 waiters are looked at, more are left to fan_out.lua; at most 100 entries evicted
-- e  hash  address -> record (header >BddddHH8s: codec, version, revision, written, expires, sizes, commit id)
-- v  hash  address -> stamp (>ddBc8: version, expires or 0, flags, commit id)     x  zset  address by expiry
-- flags  evictable (0 never, 1 among the first, 2 next) + 4 if sensitive; of a deletion 4 if what goes is, whatever its
--   stamp says
-- k  zset  addresses, all scores 0     s  zset  evictable addresses by when they were written, the medium ones after
--   all low ones
-- journal  lane: string, number of the newest call (>d) and its outcome; else hash, c:<call> -> outcome; it expires
-- run's record  hash  see claim.lua; here only e, the newest epoch seen
-- audit: see recording.lua.  u, q, i, n: see inbox.lua.  l: see log.lua.  a, h: see history.lua.  z: see gone.lua.
-- g: see graph.lua.  w, t, y: see waiters.lua.
-- What is included where it is needed is made only there: a function takes the server longer than most commands.
--@include clock
--@include log
--@include note_gone
local KEYS, ARGV, sub, byte = KEYS, ARGV, string.sub, string.byte -- a global takes a look-up each time
local m, e, v, x, k, w, t, due, out, msg = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local l, a, s, g, y, audit, z, journal, record_of_run = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19]
local agent, mode, call, digest, epoch, app, drain = ARGV[2], ARGV[4], ARGV[5], ARGV[6], ARGV[10], ARGV[11], ARGV[14]
local journal_ms, lease, max_entries, max_bytes, max_fields, max_merge, history, log_limit, horizon_ms, audit_limit,
  audit_age, lenient = struct.unpack('>dddddddddddd', ARGV[8])
local options, count, says_more, trim = struct.unpack('>BHHI4', ARGV[9])
local even_closed, sealed = options % 2 == 1, options >= 2
local FIRST, STEP, MORE, HISTORY_KEYS, SETTLED = 17, 7, 4, 19, 7
local INBOX_KEYS, FIRST_SETTLED = HISTORY_KEYS + count, FIRST + count * STEP + says_more * MORE
local settles = #ARGV >= FIRST_SETTLED
local u, q, i_, n_ = KEYS[INBOX_KEYS + 1], KEYS[INBOX_KEYS + 2], KEYS[INBOX_KEYS + 3], KEYS[INBOX_KEYS + 4]
local INLINE_WAITERS, CONFLICT_BYTES, KEPT_BYTES, MOST_VICTIMS, MOST_GUARDS = 50, 262144, 1048576, 100, 200
local UNMEASURED_BYTES = 2097152
local WAS_SENSITIVE, KEEP_EXPIRY = 8, 8 -- a flag in the log only; one of what is asked for only
local AFTER_LOW = 2 ^ 52 -- above any instant in microseconds, so that low entries come before medium ones

-- Read ---------------------------------------------------------------------------------------------------------

local head = redis.call('HMGET', m, 'r', 'k', 'f', 'b', 'i', 'z', 'y', 'g', 'c', 'qo')
if not head[1] or head[7] then return { 'no_workflow', '' } end
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
local first = outcome and cmsgpack.unpack(outcome)
-- A call of an earlier workflow of this name is none of this one's.
if first and (first[7] or head[5]) == head[5] then
  local diverged = first[1] ~= digest
  if diverged and ARGV[7] == 'error' then return { 'diverged', '' } end
  if not (diverged and ARGV[7] == 'apply') then
    local left = drain ~= '' and redis.call('LLEN', q) or 0
    local reply = { 'ok', first[2], first[3], 1, diverged and 1 or 0, 0, first[4], left, 0, #first[5] }
    for _, version in ipairs(first[5]) do reply[#reply + 1] = version end
    local named = diverged and first[6] or {}
    reply[#reply + 1] = #named
    for _, address in ipairs(named) do reply[#reply + 1] = address end
    reply[#reply + 1] = 0
    return reply
  end
end
if head[6] and not even_closed and (count > 0 or not settles) then return { 'closed', '' } end
if ARGV[13] ~= '' and ARGV[13] ~= head[9] then return { 'moved', head[1] } end
if ARGV[15] ~= '' and ARGV[15] ~= head[5] then return { 'reborn', '' } end
if drain ~= '' and head[10] ~= drain then return { 'not_the_drain', head[10] or '' } end
if mode == 'run' and redis.call('HLEN', journal) >= max_fields then return { 'calls', digits(max_fields) } end

local addresses = {}
for i = 1, count do addresses[i] = ARGV[FIRST + (i - 1) * STEP + 1] end
local ttls, dependencies, steps_of = {}, {}, {}
for at = FIRST + count * STEP, FIRST_SETTLED - 1, MORE do
  local i = tonumber(ARGV[at]) + 1
  ttls[i], dependencies[i] = tonumber(ARGV[at + 1]), ARGV[at + 2]
  if ARGV[at + 3] ~= '' then steps_of[i] = cmsgpack.unpack(ARGV[at + 3]) end
end
local stamps = {}
if count >= 50 and redis.call('HLEN', v) <= 2 * count then
  -- A small hash is one list to the server, gone through for each field: where most are asked for, all of it is read.
  local all, by_address = redis.call('HGETALL', v), {}
  for i = 1, #all, 2 do by_address[all[i]] = all[i + 1] end
  for i = 1, count do stamps[i] = by_address[addresses[i]] or false end
elseif count > 0 then
  stamps = redis.call('HMGET', v, unpack(addresses))
end
local graph = tonumber(head[8]) or 0
if ARGV[12] ~= '' and tonumber(ARGV[12]) ~= graph then return { 'graph_moved', digits(graph) } end
-- Where nothing depends on anything, and this brings nothing that does, there is no graph to look at.
local has_graph = count > 0 and (head[8] or ARGV[12] ~= '') and redis.call('HLEN', g) > 0
local edges = has_graph and redis.call('HMGET', g, unpack(addresses)) or {}

local settled, answered_before = {}, {}
for at = FIRST_SETTLED, #ARGV, SETTLED do
  local ordinal = #settled
  local its_journal = KEYS[INBOX_KEYS + 5 + ordinal]
  local update = { id = ARGV[at], kind = ARGV[at + 1], digest = ARGV[at + 2], places = ARGV[at + 3],
    failure = ARGV[at + 4], item = ARGV[at + 5], message = ARGV[at + 6], journal = its_journal }
  settled[ordinal + 1] = update
  if update.kind ~= 'kept' or (count > 0 and drain == '') then
    local earlier = redis.call('HMGET', its_journal, 'c:', 'f:')
    local done = update.kind ~= 'kept' and earlier[1] and cmsgpack.unpack(earlier[1])[7] == head[5]
    if done or earlier[2] then answered_before[#answered_before + 1] = ordinal end
  end
end
if #answered_before > 0 then return { 'answered', table.concat(answered_before, ',') } end

-- What stands there is read in one go where it will be kept or merged. In a workflow that is large enough to hold
-- many large values each is measured first, and those that will not be kept are left where they are.
local held, sizes, reading, places, merging, keeping = {}, {}, {}, {}, 0, 0
local careful = count > 1 and tonumber(head[4]) > UNMEASURED_BYTES
local stands_at, expired_at = {}, {}
for i = 1, count do
  local operation, stamp = ARGV[FIRST + (i - 1) * STEP], stamps[i]
  if stamp then
    local version, expiry = struct.unpack('>dd', stamp)
    stands_at[i], expired_at[i] = version, expiry
    local keeps = history > 1 and operation ~= 'keep'
    local merges = operation ~= 'put' and operation ~= 'delete' and operation ~= 'keep'
    if operation ~= 'purge' and (keeps or merges) then
      local size = careful and redis.call('HSTRLEN', e, addresses[i]) or 0
      if expiry ~= 0 and expiry <= now then
        keeps, merges = false, false
      elseif merges then
        merging = merging + size
        if merging > KEPT_BYTES then return { 'merge_outside', tostring(i - 1) } end
      elseif keeps then
        keeps = keeping + size <= KEPT_BYTES
        if keeps then keeping = keeping + size end
      end
      if careful then sizes[i] = size end
      if keeps or merges then
        reading[#reading + 1] = addresses[i]
        places[#places + 1] = i
      end
    end
  end
end
if #reading > 0 then
  for n, record in ipairs(redis.call('HMGET', e, unpack(reading))) do held[places[n]] = record end
else
  redis.call('HLEN', e)
end

-- Decide -------------------------------------------------------------------------------------------------------

local revision, base, bytes = tonumber(head[1]) + 1, tonumber(head[3]), tonumber(head[4])
local floor = base
local versions, records, deleted, known = {}, {}, {}, {}
local expires_at, flags, expiries_change, earliest = {}, {}, false, nil
local conflicts, conflict_bytes, changes, added, removed = {}, 0, 0, 0, 0
local kept, kept_bytes, begins_history, purged, logged, log_end = {}, 0, false, {}, { agent, now }, 2

local function log_change(kind, address, version, before, of)
  logged[log_end + 1], logged[log_end + 2], logged[log_end + 3] = kind, address, version
  logged[log_end + 4], logged[log_end + 5] = before, of
  log_end = log_end + 5
end

local logged_agent = agent
local function log_agent(writer)
  if writer ~= logged_agent then log_change('@', writer, 0, 0, 0) end
  logged_agent = writer
end

local records_of_audit, audited = {}, nil
local function record(writer, action, address, version)
  if not audited or audited.agent ~= writer or audited.action ~= action then
    audited = { agent = writer, action = action, places = {} }
    records_of_audit[#records_of_audit + 1] = audited
  end
  audited.places[#audited.places + 1] = address
  audited.places[#audited.places + 1] = version
end

local function flags_of(stamp)
  return #stamp == 25 and byte(stamp, 17) or 0 -- an earlier version of this store wrote none
end

local merged
for i = 1, count do
  local at = FIRST + (i - 1) * STEP
  local operation, address, expected, expected_commit = ARGV[at], addresses[i], ARGV[at + 2], ARGV[at + 3]
  local stamp, version, expiry = stamps[i], stands_at[i] or 0, expired_at[i] or 0
  local fresh = stamp and (expiry == 0 or expiry > now)
  local old = fresh and held[i]
  if (expected ~= '' and tonumber(expected) ~= (fresh and version or 0))
    or (expected_commit ~= '' and fresh and sub(stamp, -8) ~= expected_commit) then
    local current = false
    if fresh then
      local size = old and #old or sizes[i] or redis.call('HSTRLEN', e, address)
      current = conflict_bytes + size <= CONFLICT_BYTES and (old or redis.call('HGET', e, address)) or 0
      if current ~= 0 then conflict_bytes = conflict_bytes + size end
    end
    conflicts[#conflicts + 1] = i - 1
    conflicts[#conflicts + 1] = current
  elseif operation == 'delete' or operation == 'purge' then
    versions[i] = fresh and version or 0
    if stamp then
      deleted[i] = true
      changes = changes + 1
      removed = removed + 1
      floor = math.max(floor, version)
      bytes = bytes - (old and #old or sizes[i] or redis.call('HSTRLEN', e, address))
      expiries_change = expiries_change or expiry > 0
      log_change(fresh and 'd' or 'x', address, version, version, flags_of(stamp))
      if fresh and (flags_of(stamp) >= 4 or byte(ARGV[at + 6]) >= 4) then
        record(agent, 'deleted', address, version)
      end
    end
    if operation == 'purge' then
      purged[#purged + 1] = i
      old = false
      redis.call('LLEN', KEYS[HISTORY_KEYS + i])
    end
  elseif operation == 'keep' and fresh then
    versions[i] = version
    old = false
  else
    local meta, value, asked, steps = ARGV[at + 4], ARGV[at + 5], byte(ARGV[at + 6]), steps_of[i]
    local expires = ttls[i] and now + ttls[i] or asked >= KEEP_EXPIRY and fresh and expiry or 0
    local its_flags = asked % KEEP_EXPIRY
    if fresh and operation ~= 'put' then
      -- An encrypted value holds only for an entry as sensitive as it was encrypted for.
      if sealed and (#stamp ~= 25 or (flags_of(stamp) >= 4) ~= (its_flags >= 4)) then
        return { 'merge_outside', tostring(i - 1) }
      end
      local agent_size, meta_size = struct.unpack('>HH', old, 34)
      local meta_from = 46 + agent_size
      meta = sub(old, meta_from, meta_from + meta_size - 1)
      its_flags = flags_of(stamp)
      if operation ~= 'set' then
        if not merged then
--@include merging
          merged = merge_packed
        end
        local why
        value, why = merged(operation, sub(old, meta_from + meta_size), value, max_merge)
        if not value then return { why, tostring(i - 1) } end
      end
    end
    local first_version, writer = (stamp and version or base) + 1, steps and steps[#steps - 1] or agent
    local made = first_version + (steps and #steps / 2 - 1 or 0)
    local packed = struct.pack('>BddddHHc8', 1, made, revision, now, expires, #writer, #meta, ARGV[3])
      .. writer .. meta .. value
    flags[i], versions[i], records[i] = its_flags, made, packed
    expires_at[i] = expires
    changes = changes + 1
    bytes = bytes + #packed
    if stamp then
      bytes = bytes - (old and #old or sizes[i] or redis.call('HSTRLEN', e, address))
    else
      added = added + 1
    end
    if expires > 0 or expiry > 0 then expiries_change = true end
    if expires > 0 and (not earliest or expires < earliest) then earliest = expires end
    log_agent(agent)
    if stamp and not fresh then log_change('x', address, version, version, flags_of(stamp)) end
    local before, was_sensitive = fresh and version or 0, fresh and flags_of(stamp) >= 4 and WAS_SENSITIVE or 0
    if not steps then
      log_change('p', address, made, before, its_flags + was_sensitive)
      if its_flags >= 4 or was_sensitive > 0 then record(agent, 'wrote', address, made) end
    else
      for step = 1, #steps, 2 do
        local its_version = first_version + (step - 1) / 2
        log_agent(steps[step])
        log_change('p', address, its_version, before, steps[step + 1] + was_sensitive)
        if steps[step + 1] >= 4 or was_sensitive > 0 then record(steps[step], 'wrote', address, its_version) end
        before, was_sensitive = its_version, steps[step + 1] >= 4 and WAS_SENSITIVE or 0
      end
    end
  end
  if old and history > 1 and kept_bytes + #old <= KEPT_BYTES then
    kept[i] = old
    kept_bytes = kept_bytes + #old
    if redis.call('LLEN', KEYS[HISTORY_KEYS + i]) == 0 then begins_history = true end
  end
end
if #conflicts > 0 then return { 'conflict', digits(now), unpack(conflicts) } end
log_agent(agent)

-- A workflow that is over a limit, as a lowered one may leave it, can still be written to and shrunk.
local victims = {}
if added > removed or bytes > max_bytes then
  local function over()
    local entries = added > removed and redis.call('HLEN', v) + added - removed or 0
    if entries > max_entries then return 'entries', digits(entries) end
    if bytes > max_bytes and bytes > tonumber(head[4]) then return 'bytes', digits(bytes) end
  end
  if over() then
--@include condition
    local ours = {}
    for i = 1, count do ours[addresses[i]] = true end
    local guards = redis.call('ZRANGEBYSCORE', y, now, '+inf', 'LIMIT', 0, MOST_GUARDS + 1)
    local spared, awaited = {}, {}
    for _, guard in ipairs(guards) do addresses_of(cmsgpack.unpack(guard), awaited) end
    for _, address in ipairs(awaited) do spared[address] = true end
    local function make_room(candidates, kind)
      for _, address in ipairs(candidates) do
        if #victims == MOST_VICTIMS or not over() then return end
        local stamp = not ours[address] and redis.call('HGET', v, address)
        if stamp and (kind == 'x' or not spared[address]) then
          local version, expiry = struct.unpack('>dd', stamp)
          victims[#victims + 1] = address
          ours[address] = true
          removed = removed + 1
          floor = math.max(floor, version)
          bytes = bytes - redis.call('HSTRLEN', e, address)
          if expiry > 0 then expiries_change = true end
          log_change(kind, address, version, version, flags_of(stamp))
          known[address] = false
        end
      end
    end
    make_room(redis.call('ZRANGEBYSCORE', x, '-inf', now, 'LIMIT', 0, MOST_VICTIMS), 'x')
    -- With so many about to read that not all can be looked at, none is robbed.
    if #guards <= MOST_GUARDS then
      make_room(redis.call('ZRANGE', s, 0, MOST_VICTIMS + count + #awaited), 'e')
    end
    local why, detail = over()
    if why then return { why, detail } end
    changes = changes + #victims
  end
end

local pending, release = {}, nil
local waited_for = redis.call('ZCARD', w) > 0
if waited_for then
--@include condition
--@include waiters
  local fires, moves, afar = {}, {}, {}
  local looked_at, budget = 0, LEAF_BUDGET
  for i = 1, count do
    if records[i] then known[addresses[i]] = flags[i] elseif deleted[i] then known[addresses[i]] = false end
  end
  local arrived = {}
  for i = 1, count do
    if records[i] then arrived[#arrived + 1] = addresses[i] end
  end
  -- What goes may bring to light what stands further out, or is what somebody wants to know of: who judges is told.
  for i = 1, count do
    if deleted[i] then arrived[#arrived + 1] = addresses[i] end
  end
  for _, address in ipairs(victims) do arrived[#arrived + 1] = address end
  add_prefixes(w, arrived)
  for _, address in ipairs(arrived) do
    local runs = budget < 0 and {} or waiting_on(w, address, INLINE_WAITERS - looked_at + 1)
    if budget < 0 or looked_at + #runs > INLINE_WAITERS then
      pending[#pending + 1] = address
    else
      looked_at = looked_at + #runs
      budget = consider(set_apart(address, runs, afar), known, t, v, now, fires, moves, budget)
      if budget < 0 then pending[#pending + 1] = address end
    end
  end
  redis.call('ZCARD', due)
  redis.call('ZCARD', out)
  redis.call('HLEN', msg)
  redis.call('ZCARD', y)
  release = function()
    local fired, outgoing, judged = carry_out(fires, moves, w, t, y, due, out, msg, ARGV[1], now, app, lease)
    tell_afar(afar, w, due, ARGV[1], now, lease, judged)
    for _, address in ipairs(pending) do
      redis.call('ZADD', due, now, 'fan_out\0\0' .. ARGV[1] .. '\0\0' .. address)
    end
    return fired, outgoing, judged
  end
end
-- Decided before the first write: a log of another type refuses the commit, or is passed over.
local recorded, unrecorded = audit_limit > 0 and #records_of_audit > 0, 0
if recorded then
  local length = redis.pcall('XLEN', audit)
  if type(length) == 'table' and length.err then
    if lenient ~= 1 then return redis.error_reply(length.err) end
    recorded, unrecorded = false, 1
  end
end
-- Every key that is written below has been read above or is here, so that one of a wrong type stops us now.
if added + removed > 0 then redis.call('ZCARD', k) end
if changes > 0 then redis.call('ZCARD', s) end
-- The first write needs no look before: it finds out by itself.
local log_first = removed == 0 and #purged == 0
if changes > 0 and not log_first then redis.call('XLEN', l) end
if begins_history or removed > 0 or #purged > 0 then redis.call('ZCARD', a) end
local have_gone = (added + removed > 0 or #purged > 0) and redis.call('ZCARD', z) > 0
if expiries_change or removed > 0 then redis.call('ZCARD', x) end
if earliest or drain ~= '' then redis.call('ZCARD', due) end
if #settled > 0 then
  for _, key in ipairs({ u, n_ }) do redis.call('HLEN', key) end
  redis.call('ZCARD', i_)
  redis.call('LLEN', q)
  redis.call('ZCARD', out)
  redis.call('HLEN', msg)
end
-- A drain read them at the head of the queue. What a task of its own settles may stand anywhere in it, or has left it.
local leaving, elsewhere = 0, {}
for _, update in ipairs(settled) do elsewhere[update.id] = true end
for _, id in ipairs(trim > 0 and redis.call('LRANGE', q, 0, trim - 1) or {}) do
  if not elsewhere[id] then break end
  leaving, elsewhere[id] = leaving + 1, nil
end

-- Write --------------------------------------------------------------------------------------------------------

for _, i in ipairs(purged) do
  redis.call('UNLINK', KEYS[HISTORY_KEYS + i])
  redis.call('ZREM', a, addresses[i])
  if have_gone then redis.call('ZREM', z, addresses[i]) end
end
if changes > 0 then
  if log_first then write_log(l, log_limit, revision, ARGV[3], logged) end
  local for_e, for_v, for_k, for_s, n, n_k, n_s = {}, {}, {}, {}, 0, 0, 0
  -- What takes room away first: a server that is out of memory refuses a script whose first write may need some.
  local gone = victims
  for i = 1, count do
    if deleted[i] then gone[#gone + 1] = addresses[i] end
  end
  if #gone > 0 then
    redis.call('HDEL', e, unpack(gone))
    redis.call('HDEL', v, unpack(gone))
    redis.call('ZREM', k, unpack(gone))
    redis.call('ZREM', x, unpack(gone))
    redis.call('ZREM', s, unpack(gone))
    if has_graph then redis.call('HDEL', g, unpack(gone)) end
  end
  local graph_before = graph
  local when, until_here = { now, now + AFTER_LOW }, struct.pack('>d', revision)
  for i = 1, count do
    local address = addresses[i]
    if kept[i] then
      local length = redis.call('LPUSH', KEYS[HISTORY_KEYS + i], until_here .. kept[i])
      if length == 1 then redis.call('ZADD', a, 0, address) end
      if length >= history then redis.call('LTRIM', KEYS[HISTORY_KEYS + i], 0, history - 2) end
    end
    if records[i] then
      local stamp, expires = stamps[i], expires_at[i]
      for_e[n + 1], for_e[n + 2] = address, records[i]
      for_v[n + 1], for_v[n + 2] = address, struct.pack('>ddBc8', versions[i], expires, flags[i], ARGV[3])
      n = n + 2
      if not stamp then
        for_k[n_k + 1], for_k[n_k + 2] = 0, address
        n_k = n_k + 2
        if have_gone then redis.call('ZREM', z, address) end
      end
      local evictable = flags[i] % 4
      if evictable > 0 then
        for_s[n_s + 1], for_s[n_s + 2] = when[evictable], address
        n_s = n_s + 2
      elseif stamp and flags_of(stamp) % 4 > 0 then
        redis.call('ZREM', s, address)
      end
      if expires > 0 then
        redis.call('ZADD', x, expires, address)
      elseif stamp and expired_at[i] > 0 then
        redis.call('ZREM', x, address)
      end
      local wanted = dependencies[i] or ''
      if wanted ~= '' or edges[i] then
        local fresh = stamp and (expired_at[i] == 0 or expired_at[i] > now)
        if ARGV[FIRST + (i - 1) * STEP] == 'put' or not fresh then
          if wanted ~= '' and wanted ~= edges[i] then
            redis.call('HSET', g, address, wanted)
            graph = graph_before + 1
          elseif wanted == '' and edges[i] then
            redis.call('HDEL', g, address)
          end
        end
      end
    end
  end
  note_gone(a, z, revision, gone)
  if n > 0 then
    redis.call('HSET', e, unpack(for_e))
    redis.call('HSET', v, unpack(for_v))
  end
  if n_k > 0 then redis.call('ZADD', k, unpack(for_k)) end
  if n_s > 0 then redis.call('ZADD', s, unpack(for_s)) end
  redis.call('HSET', m, 'r', revision, 'c', ARGV[3], 'k', now, 'b', bytes)
  if floor > base then redis.call('HSET', m, 'f', floor) end
  if graph > graph_before then redis.call('HSET', m, 'g', graph) end
  if not log_first then write_log(l, log_limit, revision, ARGV[3], logged) end
  if recorded then
--@include recording
    local to_add = {}
    for i, each in ipairs(records_of_audit) do
      to_add[i] = { ARGV[3] .. digits(i), each.action, each.agent, ARGV[1], ARGV[16], '', digits(revision),
        cmsgpack.pack(each.places) }
    end
    audit_add(audit, now, audit_limit, audit_age, to_add)
  end
  if earliest then redis.call('ZADD', due, 'LT', earliest, 'expiry\0\0' .. ARGV[1] .. '\0\0') end
else
  revision = revision - 1
end

local fired, outgoing, judged = 0, {}, {}
if release then fired, outgoing, judged = release() end

local left = 0
if settles or drain ~= '' then
--@include inbox
  for _, update in ipairs(settled) do
    local its_journal = update.journal
    if update.kind == 'applied' then
      local places, its_versions, its_addresses = cmsgpack.unpack(update.places), {}, {}
      for at = 1, #places, 2 do
        its_versions[#its_versions + 1] = versions[places[at] + 1] - places[at + 1]
        its_addresses[#its_addresses + 1] = addresses[places[at] + 1]
      end
      redis.call('HSET', its_journal, 'c:', cmsgpack.pack({ update.digest, revision, now, ARGV[3], its_versions, its_addresses, head[5] }))
    elseif update.kind == 'failed' then
      redis.call('HSET', its_journal, 'f:', update.failure)
    end
    if update.kind ~= 'kept' then redis.call('PEXPIRE', its_journal, horizon_ms) end
    report(update.item, update.message, out, msg, now, app, lease, outgoing)
  end
  if #settled > 0 then
    if leaving > 0 then redis.call('LTRIM', q, leaving, -1) end
    for _, update in ipairs(settled) do
      if elsewhere[update.id] and not redis.call('ZSCORE', i_, update.id) then redis.call('LREM', q, 1, update.id) end
    end
    take_out(settled, u, i_, n_)
  end
  if drain ~= '' then
    left = redis.call('LLEN', q)
    go_on_or_end(m, due, ARGV[1], now, lease, left, trim)
  end
end

local answered = cmsgpack.pack({ digest, revision, now, ARGV[3], versions, mode == 'operation' and addresses or {}, head[5] })
if mode == 'lane' then
  redis.call('SET', journal, struct.pack('>d', call) .. answered, 'PX', journal_ms)
else
  redis.call('HSET', journal, 'c:' .. call, answered)
  if redis.call('PTTL', journal) < 0 then redis.call('PEXPIRE', journal, journal_ms) end
end
if epoch ~= '' and seen_epoch ~= epoch then
  redis.call('HSET', record_of_run, 'e', epoch)
  if redis.call('PTTL', record_of_run) < 0 then redis.call('PEXPIRE', record_of_run, journal_ms) end
end

local reply = { 'ok', revision, now, 0, 0, fired, ARGV[3], left, unrecorded, count }
for i = 1, count do reply[10 + i] = versions[i] end
reply[11 + count] = #pending
for _, address in ipairs(pending) do reply[#reply + 1] = address end
reply[#reply + 1] = #judged
for _, run in ipairs(judged) do reply[#reply + 1] = run end
for _, part in ipairs(outgoing) do reply[#reply + 1] = part end
return reply
