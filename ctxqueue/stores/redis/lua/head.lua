--@include clock
-- A workflow's head: {incarnation, revision, commit id, created, metadata, now, closed, graph}; nil if there is no such
-- workflow, or it is being removed.
local function head_of(m)
  local head = redis.call('HMGET', m, 'i', 'r', 'c', 'n', 'd', 'k', 'z', 'g', 'y')
  if not head[1] or head[9] then return nil end
  head[6] = digits(clock_now(head[6]))
  head[7] = head[7] or '0'
  head[8] = head[8] or '0'
  head[9] = nil
  return head
end
