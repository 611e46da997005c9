-- Removes from a shard's audit log what is beyond its bounds.
-- KEYS  1 audit
-- ARGV  1 records kept  2 age us
-- Returns 1.
-- Cost  O(records removed)
-- audit: see recording.lua.
--@include clock
--@include recording
audit_trim(KEYS[1], clock_now(0), tonumber(ARGV[1]), tonumber(ARGV[2]))
return 1
