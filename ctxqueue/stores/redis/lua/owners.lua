-- Reads names of owners that were registered since an instant, in the order of that.
-- KEYS  1 memory
-- ARGV  1 instant  2 name (of those registered at that instant, the ones up to it are passed over)  3 most names
-- Returns {now, 1 if there are more, when the last one was registered, name, ...}
-- Cost  O(log N + names)
-- memory: see register_owner.lua.
--@include clock
local first = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
if ARGV[2] ~= '' then
    local at = redis.call('ZSCORE', KEYS[1], ARGV[2])
    -- If it was registered anew, or dropped, those of the same instant are read again.
    if at and tonumber(at) == tonumber(ARGV[1]) then
        first = redis.call('ZRANK', KEYS[1], ARGV[2]) + 1
    end
end
local most = tonumber(ARGV[3])
local found = redis.call('ZRANGE', KEYS[1], first, first + most, 'WITHSCORES')
local names = math.min(#found / 2, most)
local reply = {digits(clock_now(false)), #found / 2 > most and 1 or 0, '0'}
for i = 1, names do
    reply[3 + i] = found[2 * i - 1]
    reply[3] = found[2 * i]
end
return reply
