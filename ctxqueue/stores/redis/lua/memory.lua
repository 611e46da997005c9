-- A row's stamp, and where rows stand in their owner's indexes.
-- m  hash  i incarnation, o model, s number of the last change, f number up to which removals were forgotten,
--   k what calls have shown of the clock
-- e  hash  id -> stamp (>ddddBB: number, born, created, expires or 0, kind, flags) and body; flags: 1 pinned, 2 superseded
-- n  hash  id -> uses (>dd: how many, when last) and the id of the last touch
-- l  zset  ids, removed ones too, by the number of their last change     d  zset  removed ids by number
-- x  zset  ids by expiry     a<kind>  zset  ids that are not pinned by when they were made
-- u<kind>  zset  the same by uses, then by the second they were made in
local STAMP, PINNED, SUPERSEDED, SECONDS = 34, 1, 2, 4294967296
local AGED, USED = 6, 9 -- the keys of a kind's indexes come after so many

local function stamp_of(row)
  return struct.unpack('>ddddBB', row)
end

local function stamped(number, born, created, expires, kind, flags)
  return struct.pack('>ddddBB', number, born, created, expires, kind, flags)
end

local function uses_of(packed)
  if not packed then return 0, 0, '' end
  local uses, last = struct.unpack('>dd', packed)
  return uses, last, string.sub(packed, 17)
end

local function use_order(uses, created)
  return digits(math.min(uses, 1048575) * SECONDS + math.floor(created / 1000000))
end

-- Fails, before anything is written, if a key of an owner is of another type.
local function check_types(hashes, zsets)
  for _, key in ipairs(hashes) do redis.call('HLEN', key) end
  for _, key in ipairs(zsets) do redis.call('ZCARD', key) end
end
