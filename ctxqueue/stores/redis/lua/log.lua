-- The log: one record a revision, metadata only. Trimmed by count: a reader that comes too late is told so.
--   l  stream  id "<revision>-1", c commit id, d msgpack {agent, now us, then for each change:
--              kind, address, version, version before, flags}
-- Kinds: p put, d deleted, x expired, e evicted. Flags: those of the entry's stamp, see commit.lua; of a put
-- also 8 if what it was written over was sensitive.
local function write_log(l, limit, revision, commit_id, agent, now, changes)
  local record = cmsgpack.pack({ agent, now, unpack(changes) })
  redis.call('XADD', l, 'MAXLEN', limit, digits(revision) .. '-1', 'c', commit_id, 'd', record)
end
