-- The log: one record a revision, metadata only. Trimmed by count: a reader that comes too late is told so.
--   l  stream  id "<revision>-1", c commit id, d msgpack {agent, now us, then for each change:
--              kind, address, version, version before, flags}
-- '@', an agent and three zeros in a change's place: the changes behind it are that agent's.
-- Kinds: p put, d deleted, x expired, e evicted. Flags: those of the entry's stamp, see commit.lua; of a put
-- also 8 if what it was written over was sensitive.
local function write_log(l, limit, revision, commit_id, record)
  redis.call('XADD', l, digits(revision) .. '-1', 'c', commit_id, 'd', cmsgpack.pack(record))
  -- Where a trim begins, the server looks for the first record that is left: so not each time, and a tenth more may stand.
  if revision % math.max(1, math.floor(limit / 10)) == 0 then redis.call('XTRIM', l, 'MAXLEN', limit) end
end
