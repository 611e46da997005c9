-- Keeps the result of a step of a run, unless there is one under its name.
-- KEYS  1 run's record
-- ARGV  1 epoch  2 name  3 1 to keep the value, 0 only to look  4 value  5 max fields of the record  6 horizon ms
-- Returns {'kept'}, {'found', value}, {'absent'}, {'superseded'} or {'calls'}.
-- Cost  O(1)
-- run's record: see claim.lua; here u:<name> -> value
local record, field = KEYS[1], 'u:' .. ARGV[2]
local found = redis.call('HMGET', record, 'e', field)
if found[1] and tonumber(found[1]) > tonumber(ARGV[1]) then return { 'superseded' } end
if found[2] then return { 'found', found[2] } end
if ARGV[3] == '0' then return { 'absent' } end
if redis.call('HLEN', record) >= tonumber(ARGV[5]) then return { 'calls' } end
redis.call('HSET', record, field, ARGV[4])
if redis.call('PTTL', record) < 0 then redis.call('PEXPIRE', record, ARGV[6]) end
return { 'kept' }
