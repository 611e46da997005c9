-- Registers a judged run on the addresses that are to make it due again.
-- KEYS  1 m  2 w  3 t  4 due  5 j
-- ARGV  1 workflow  2 run  3 lease us  4 app of whoever looks  5 depth  then the addresses (none: those it had before)
-- Returns {'watched', what judges it, turn, notes, number, depth, address...} or {'running'|'others'|'closed'|'gone'}.
-- Cost  O(addresses * log waiters)
--@include clock
--@include condition
--@include waiters
--@include recurring
local m, w, t, due, j = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local run = ARGV[2]
local head = redis.call('HMGET', m, 'z', 'k')
local packed = redis.call('HGET', t, 'c:' .. run)
redis.call('ZCARD', w)
redis.call('ZCARD', due)
redis.call('HLEN', j)
local member = 'judge\0\0' .. ARGV[1] .. '\0\0' .. run
if not packed then
  redis.call('ZREM', due, member)
  return { 'gone' }
end
if head[1] then return { 'closed' } end
local parked, now = cmsgpack.unpack(string.sub(packed, 5)), clock_now(head[2])
local repeats, notes = parked[8], ''
if repeats and string.sub(parked[1], 1, #ARGV[4] + 1) ~= ARGV[4] .. '\0' then
  redis.call('ZADD', due, 'LT', digits(now), member)
  return { 'others' }
end
if repeats and repeats[2] > now then
  repeats[3] = math.min(tonumber(ARGV[5]), repeats[3] > 0 and repeats[3] or math.huge)
  save_parked(t, run, struct.unpack('>I4', packed), parked)
  redis.call('ZADD', due, digits(repeats[2]), member)
  return { 'running' }
end
if repeats then
  notes = cmsgpack.unpack(redis.call('HGET', j, run))[4] or ''
  repeats[2] = 0
end
local tree, addresses = { 'j' }, {}
for i = 6, #ARGV do tree[i - 4] = ARGV[i] end
if #ARGV == 5 then tree = parked[3] end
for i = 2, #tree do addresses[i - 1] = tree[i] end
unregister(w, run, parked[4])
register(w, run, addresses)
local turn = (parked[7] or 0) + 1
save_parked(t, run, #addresses, { parked[1], parked[2], tree, addresses, parked[5], parked[6], turn, repeats })
-- Whoever looks may die after another workflow has forgotten the run.
redis.call('ZADD', due, 'LT', digits(now + tonumber(ARGV[3])), member)
local reply = { 'watched', parked[6], turn, notes, repeats and repeats[1] or 0, repeats and repeats[3] or 0 }
for _, address in ipairs(addresses) do reply[#reply + 1] = address end
return reply
