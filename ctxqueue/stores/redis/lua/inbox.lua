-- Stored updates, in forms that change together:
--   u  hash  id -> length of a head (>I4), the head as msgpack {enqueued us, 1 if queued, item, message,
--            dropped from or 0}, the payload
--   q  list  ids of the queued ones, the oldest first
--   i  zset  ids of the others, scored by when their message is due again
--   n  hash  id -> attempts at one of those
--   d  zset  all scores 0, "<id>\0\0\0<what is known of it>" of dead letters: they are in u, and neither in q nor in i
--   m  hash  of the drain: qs it is announced until, qi and qm its outbox item and message, qo who holds the inbox,
--            ql until when, qa how many that held it settled nothing, qc how many updates are still to be tried one by one
--   due zset "inbox\0\0<workflow>\0\0" when the announcement is overdue, "updates\0\0<workflow>\0\0" the first of i
-- The journal of an update is that of its operation: c: its outcome, as commit.lua writes it, f: its failure.
local AN_HOUR = 3600 * 1000000

-- A message may be waiting its turn: the longer it takes, the less often it is sent again.
local function pause_after(age, lease)
  return math.min(math.max(lease, age), AN_HOUR)
end

local function head_and_payload(item)
  local size = struct.unpack('>I4', item)
  return cmsgpack.unpack(string.sub(item, 5, 4 + size)), string.sub(item, 5 + size)
end

local function inbox_member(kind, workflow)
  return kind .. '\0\0' .. workflow .. '\0\0'
end

-- Says until when the announced drain is left alone.
local function announce(m, due, workflow, until_us)
  redis.call('HSET', m, 'qs', digits(until_us))
  redis.call('ZADD', due, digits(until_us), inbox_member('inbox', workflow))
end

local function withdraw(m, due, workflow)
  redis.call('HDEL', m, 'qs', 'qo', 'ql', 'qa', 'qc')
  redis.call('ZREM', due, inbox_member('inbox', workflow))
end

-- After a drain has settled some: it goes on, or there is nothing left to go on with.
local function go_on_or_end(m, due, workflow, now, lease, left, trim)
  if left == 0 then return withdraw(m, due, workflow) end
  local careful = math.max(0, (tonumber(redis.call('HGET', m, 'qc')) or 0) - trim)
  redis.call('HSET', m, 'ql', digits(now + lease), 'qa', 0, 'qc', careful)
  announce(m, due, workflow, now + lease)
end

local function take_out(updates, u, i, n)
  local ids = {}
  for place, update in ipairs(updates) do ids[place] = update.id end
  if #ids == 0 then return end
  redis.call('HDEL', u, unpack(ids))
  redis.call('ZREM', i, unpack(ids))
  redis.call('HDEL', n, unpack(ids))
end

-- Puts a message into the outbox; `app`'s own come back, leased.
local function report(item, message, out, msg, now, app, lease, outgoing)
  if item == '' then return end
  local from = now
  if app ~= '' and #outgoing < 100 and string.sub(item, 1, #app + 1) == app .. '\0' then
    from = now + lease
    outgoing[#outgoing + 1] = item
    outgoing[#outgoing + 1] = message
  end
  redis.call('ZADD', out, digits(from), item)
  redis.call('HSET', msg, item, message)
end
