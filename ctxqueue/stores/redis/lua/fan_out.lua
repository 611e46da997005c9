-- Looks at the next page of an address's waiters: each fires, or waits on for another address.
-- KEYS  1 m  2 v  3 w  4 t  5 due  6 out  7 msg  8 y
-- ARGV  1 workflow  2 address  3 limit  4 app whose fired items come back leased  5 lease us
-- Returns {fired, 1 if there is another page, n, run to be judged..., item, message, ...}.
-- Cost  O(limit * log waiters)
--@include clock
--@include condition
--@include waiters
local m, v, w, t, due, out, msg, y = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local workflow, address, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = clock_now(redis.call('HGET', m, 'k'))
local known, fires, moves = {}, {}, {}
local of_prefix = string.sub(address, 1, 1) == OF_PREFIX
if of_prefix then known[address] = 0 else learn(known, { address }, v, now) end
redis.call('ZCARD', due)
redis.call('ZCARD', out)
redis.call('HLEN', msg)
redis.call('ZCARD', y)
local runs, afar = waiting_on(w, address, limit), {}
local full = #runs == limit
-- Nothing stands there any more: only who judges is to be told of it, the others are registered where they should be.
if not known[address] then
  local judged = {}
  for _, run in ipairs(runs) do
    if string.sub(run, 1, 1) == AFAR or is_judged(t, run) then judged[#judged + 1] = run end
  end
  runs, full = judged, full and #judged > 0
end
local budget = consider(set_apart(address, runs, afar), known, t, v, now, fires, moves, LEAF_BUDGET)

local fired, outgoing, judged = carry_out(fires, moves, w, t, y, due, out, msg, workflow, now, ARGV[4], tonumber(ARGV[5]))
tell_afar(afar, w, due, workflow, now, tonumber(ARGV[5]), judged)
-- A registration whose run is gone fires nothing and would be met for ever.
for _, run in ipairs(runs) do
  if not fires[run] and not moves[run] and redis.call('HEXISTS', t, 'c:' .. run) == 0 then
    unregister(w, run, { address })
  end
end
local more = (full or budget < 0) and 1 or 0
if more == 0 then redis.call('ZREM', due, 'fan_out\0\0' .. workflow .. '\0\0' .. address) end
local reply = { fired, more, #judged }
for _, run in ipairs(judged) do reply[#reply + 1] = run end
for _, part in ipairs(outgoing) do reply[#reply + 1] = part end
return reply
