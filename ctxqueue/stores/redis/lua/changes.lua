-- Reads log records from a revision on.
-- KEYS  1 m  2 l
-- ARGV  1 from revision  2 limit  3 bytes to stop after
-- Returns false if there is no workflow, else {head (8), id of the oldest record or '', id, c, d, ...}; see log.lua.
-- Cost  O(limit)
--@include head
local head = head_of(KEYS[1])
if not head then return false end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
head[9] = oldest and oldest[1] or ''
local from, left, bytes = '(' .. ARGV[1] .. '-0', tonumber(ARGV[2]), 0
while left > 0 and bytes <= tonumber(ARGV[3]) do
  local items = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', math.min(left, 20))
  if #items == 0 then break end
  for _, item in ipairs(items) do
    head[#head + 1] = item[1]
    head[#head + 1] = item[2][2]
    head[#head + 1] = item[2][4]
    bytes = bytes + #item[2][4]
    from = '(' .. item[1]
    left = left - 1
    if bytes > tonumber(ARGV[3]) then break end
  end
end
return head
