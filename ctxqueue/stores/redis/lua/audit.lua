-- Adds records to a shard's audit log, each once.
-- KEYS  1 audit
-- ARGV  1 records kept  2 age us
--       then for each record 8: id, action, agent, workflow, origin, detail, revision, packed places
-- Returns how many were added.
-- Cost  O(records)
-- audit: see recording.lua.
--@include clock
--@include recording
local known, records, audit = {}, {}, KEYS[1]
for _, item in ipairs(redis.call('XREVRANGE', audit, '+', '-', 'COUNT', AUDIT_TWICE)) do known[item[2][2]] = true end
for at = 3, #ARGV, 8 do
  if not known[ARGV[at]] then records[#records + 1] = { unpack(ARGV, at, at + 7) } end
end
if #records > 0 then audit_add(audit, clock_now(0), tonumber(ARGV[1]), tonumber(ARGV[2]), records) end
return #records
