-- Notes which policy a namespace is held to; another one than before is recorded.
-- KEYS  1 policy  2 audit
-- ARGV  1 digest  2 1 if it is the shipped one  3 records kept ('0' none)  4 age us
--       then of the record 8: id, action, agent, workflow, origin, detail, revision, packed places
-- Returns {1, digest before} or {0, ''}.
-- Cost  O(1)
-- policy  string  the digest     audit: see recording.lua.
--@include clock
--@include recording
local before = redis.call('GET', KEYS[1]) or ''
if before == ARGV[1] then return { 0, '' } end
redis.call('XLEN', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
if before == '' and ARGV[2] == '1' then return { 0, '' } end
if ARGV[3] ~= '0' then
  local record = { unpack(ARGV, 5, 12) }
  record[6] = before .. ' ' .. record[6]
  audit_add(KEYS[2], clock_now(0), tonumber(ARGV[3]), tonumber(ARGV[4]), { record })
end
return { 1, before }
