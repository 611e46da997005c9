-- The audit log of a shard: only added to. Trimmed by count and age; it ends by itself once nothing is added any more.
--   audit  stream  id "<microseconds>-<number>", numbers rise by one; i record id, k action, g agent, w workflow,
--                  o origin, d detail, r revision, p msgpack {address, version, ...}
local AUDIT_TWICE = 10 -- among so many records one that is sent again is looked for
local function audit_reach(audit)
  local last = redis.call('XREVRANGE', audit, '+', '-', 'COUNT', 1)[1]
  if not last then return 0, 0 end
  local at, number = string.match(last[1], '(%d+)-(%d+)')
  return tonumber(at), tonumber(number)
end

local function audit_trim(audit, now, limit, age)
  redis.call('XTRIM', audit, 'MAXLEN', limit)
  redis.call('XTRIM', audit, 'MINID', digits(math.max(0, now - age)))
end

-- Adds records {id, action, agent, workflow, origin, detail, revision, packed places}.
local function audit_add(audit, now, limit, age, records)
  local at, number = audit_reach(audit)
  at = digits(math.max(at, now))
  for i, record in ipairs(records) do
    redis.call('XADD', audit, at .. '-' .. digits(number + i), 'i', record[1], 'k', record[2],
      'g', record[3], 'w', record[4], 'o', record[5], 'd', record[6], 'r', record[7], 'p', record[8])
  end
  audit_trim(audit, now, limit, age)
  redis.call('PEXPIRE', audit, digits(math.ceil(age / 1000)))
end
