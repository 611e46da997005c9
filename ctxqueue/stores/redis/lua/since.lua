-- Brings what was read at one revision up to date.
-- KEYS  1 m  2 e  3 l
-- ARGV  1 incarnation  2 revision  3 commit id  4 most revisions to go through
-- Returns false if there is no workflow, else {head (8), 'same'|'reload'} or {head (8), 'changed', address, record or
--   false, ...}.
-- Cost  O(changes since)
--@include head
local MOST_BYTES = 1048576 -- beyond, a reload by pages holds the server for less long at a time
local head = head_of(KEYS[1])
if not head then return false end
local revision = tonumber(ARGV[2])
if head[1] ~= ARGV[1] or tonumber(head[2]) < revision then
  head[9] = 'reload'
  return head
end
if tonumber(head[2]) == revision then
  head[9] = head[3] == ARGV[3] and 'same' or 'reload'
  return head
end
head[9] = 'reload'
if tonumber(head[2]) - revision > tonumber(ARGV[4]) then return head end
-- The log's record of the revision itself says whether this is still the history that was read.
local items = redis.call('XRANGE', KEYS[3], ARGV[2] .. '-0', '+')
if revision > 0 then
  local first = items[1]
  if not first or first[1] ~= ARGV[2] .. '-1' or first[2][2] ~= ARGV[3] then return head end
end
if #items ~= tonumber(head[2]) - revision + (revision > 0 and 1 or 0) then return head end
local addresses, known = {}, {}
for i = revision > 0 and 2 or 1, #items do
  local record = cmsgpack.unpack(items[i][2][4])
  for at = 4, #record, 5 do
    if record[at - 1] ~= '@' and not known[record[at]] then
      known[record[at]] = true
      addresses[#addresses + 1] = record[at]
    end
  end
end
if #addresses == 0 or #addresses > 1000 then return head end
-- A thousand records may be sixty megabytes: where that is possible, they are measured before they are read.
if tonumber(redis.call('HGET', KEYS[1], 'b')) > MOST_BYTES then
  local bytes = 0
  for i, address in ipairs(addresses) do
    bytes = bytes + redis.call('HSTRLEN', KEYS[2], address)
    if bytes > MOST_BYTES and i > 1 then return head end
  end
end
head[9] = 'changed'
local records = redis.call('HMGET', KEYS[2], unpack(addresses))
for i, address in ipairs(addresses) do
  head[#head + 1] = address
  head[#head + 1] = records[i]
end
return head
