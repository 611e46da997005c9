-- Begins an attempt at a run, or says why not.
-- KEYS  1 run's record  2 m  3 v  4 due  5 t
-- ARGV  1 workflow  2 run  3 retries  4 leg  5 lease us  6 horizon us  7 condition (msgpack; '' none)
--       8 message to keep as standby ('' not given: it may be asked for)  9 its outbox item id  10 claim id  11 epoch of the attempt that retried (0 none)
-- Returns {'run'|'timeout'|'closed', epoch, parked us, attempts lost, ordinal of an unmet leaf...}, {'done'|'failed', outcome}
--   or {answer}
--   (stale|standby|message|parked|cancelled).
-- Cost  O(leaves)
-- run's record  hash  s state, q retries, g leg, e epoch, l lease until, d deadline, d<wait> those of waits in its body, p parked at, o outcome,
--   n claim id, x how many attempts at this position were lost, b standby message and i its outbox item id; c:<call> the run's journal; expires as a whole
-- t, due: see waiters.lua
--@include clock
--@include condition
--@include released
local record = KEYS[1]
local found = redis.call('HMGET', record, 's', 'q', 'g', 'e', 'l', 'd', 'p', 'o', 'n', 'x')
local head = redis.call('HMGET', KEYS[2], 'k', 'z')
local now = clock_now(head[1])
local retries, leg = tonumber(ARGV[3]), tonumber(ARGV[4])
local state, deadline, parked_at = found[1], nil, nil
local takes_over, lost = false, 0
redis.call('ZCARD', KEYS[4])
local kept = redis.call('HGET', KEYS[5], 'n:' .. ARGV[2])

local function stand_by(from)
  redis.call('HSET', record, 'b', ARGV[8], 'i', ARGV[9])
  redis.call('ZADD', KEYS[4], from, 'standby\0\0' .. ARGV[1] .. '\0\0' .. ARGV[2])
end

if state == 'cancelled' then
  if kept then keep_no_more(KEYS[5], KEYS[4], ARGV[1], ARGV[2]) end
  return { 'cancelled' }
end
if state then
  local last_retries, last_leg = tonumber(found[2]), tonumber(found[3])
  if retries < last_retries or (retries == last_retries and leg < last_leg) then return { 'stale' } end
  -- Retried by an attempt that had been taken over: what comes of the other one counts.
  if retries > last_retries and ARGV[11] ~= '0' and ARGV[11] ~= found[4] then return { 'stale' } end
  if retries == last_retries and leg == last_leg then
    lost = tonumber(found[10]) or 0
    if state == 'parked' then return { 'parked' } end
    if state == 'retried' then return { 'stale' } end
    if (state == 'done' or state == 'failed') and found[8] ~= '' then return { state, found[8] } end
    if state == 'running' and found[9] ~= ARGV[10] then
      if ARGV[8] == '' then return { 'message' } end
      if tonumber(found[5]) > now then
        stand_by(found[5])
        return { 'standby' }
      end
      takes_over, lost = true, lost + 1
    end
  end
  if retries == last_retries then
    deadline = tonumber(found[6])
    if leg > 0 then parked_at = tonumber(found[7]) end
  end
end

local missing = {}
if ARGV[7] ~= '' then
  local tree, known = cmsgpack.unpack(ARGV[7]), {}
  learn(known, addresses_of(tree, {}), KEYS[3], now)
  if not holds(tree, known) then unmet(tree, known, missing, 0) end
end
-- The same claim again, its reply was lost: no new attempt.
local epoch = (tonumber(found[4]) or 0) + (found[9] == ARGV[10] and 0 or 1)
local lease = digits(now + tonumber(ARGV[5]))
redis.call('HSET', record, 's', 'running', 'q', retries, 'g', leg, 'e', epoch, 'l', lease, 'o', '', 'n', ARGV[10])
if lost > 0 then redis.call('HSET', record, 'x', lost) elseif found[10] then redis.call('HDEL', record, 'x') end
-- The attempt before may only stand still: when it wakes it acknowledges its delivery, which may be this one's too.
if takes_over then stand_by(lease) end
if not deadline then redis.call('HDEL', record, 'd') end
-- The message of this position has come, and so have earlier ones.
if kept and is_before(cmsgpack.unpack(kept)[1], retries, leg + 1) then
  keep_no_more(KEYS[5], KEYS[4], ARGV[1], ARGV[2])
end
redis.call('PEXPIRE', record, digits((math.max(deadline or now, now) - now + tonumber(ARGV[6])) / 1000))
local answer = #missing > 0 and deadline and deadline <= now and 'timeout' or 'run'
-- What it waited for, or would wait for, cannot come any more. It may have come before the end, and is read then.
if #missing > 0 and (head[2] or (leg > 0 and not head[1])) then answer = 'closed' end
return { answer, epoch, parked_at and digits(now - parked_at) or 0, lost, unpack(missing) }
