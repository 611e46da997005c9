-- Registers a judged run on the addresses that are to make it due again.
-- KEYS  1 m  2 w  3 t  4 due
-- ARGV  1 workflow  2 run  3 lease us  then the addresses (none: those it had before)
-- Returns {'watched', what judges it, turn, address...}, {'closed'} or {'gone'}.
-- Cost  O(addresses * log waiters)
--@include clock
--@include condition
--@include waiters
local m, w, t, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local run = ARGV[2]
local head = redis.call('HMGET', m, 'z', 'k')
local packed = redis.call('HGET', t, 'c:' .. run)
redis.call('ZCARD', w)
redis.call('ZCARD', due)
if not packed then
  redis.call('ZREM', due, 'judge\0\0' .. ARGV[1] .. '\0\0' .. run)
  return { 'gone' }
end
if head[1] then return { 'closed' } end
local parked = cmsgpack.unpack(string.sub(packed, 5))
local tree, addresses = { 'j' }, {}
for i = 4, #ARGV do tree[i - 2] = ARGV[i] end
if #ARGV == 3 then tree = parked[3] end
for i = 2, #tree do addresses[i - 1] = tree[i] end
unregister(w, run, parked[4])
register(w, run, addresses)
local turn = (parked[7] or 0) + 1
local kept = { parked[1], parked[2], tree, addresses, parked[5], parked[6], turn }
redis.call('HSET', t, 'c:' .. run, struct.pack('>I4', #addresses) .. cmsgpack.pack(kept))
-- Whoever looks may die after another workflow has forgotten the run.
local again = digits(clock_now(head[2]) + tonumber(ARGV[3]))
redis.call('ZADD', due, 'NX', again, 'judge\0\0' .. ARGV[1] .. '\0\0' .. run)
local reply = { 'watched', parked[6], turn }
for _, address in ipairs(addresses) do reply[#reply + 1] = address end
return reply
