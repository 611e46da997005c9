-- Reads entries in the order of their addresses.
-- KEYS  1 m  2 e  3 k
-- ARGV  1 lower bound (ZRANGEBYLEX form)  2 upper bound  3 limit  4 bytes to stop after
-- Returns false if there is no workflow, else {head (8), 1 if there is more, address, record, ...}.
-- Cost  O(log N + limit)
-- k  zset, all scores 0  the addresses that hold an entry
--@include head
local head = head_of(KEYS[1])
if not head then return false end
local limit, most = tonumber(ARGV[3]), tonumber(ARGV[4])
-- Fifty records may be fifty megabytes. Where that is possible each is measured first, which doubles the time of a
-- page of small ones.
local careful = tonumber(redis.call('HGET', KEYS[1], 'b')) > 8 * most
head[9] = 0
local addresses = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[1], ARGV[2], 'LIMIT', 0, limit + 1)
if #addresses > limit then
  head[9] = 1
  addresses[#addresses] = nil
end
local bytes = 0
for first = 1, #addresses, 50 do
  if bytes > most then
    head[9] = 1
    break
  end
  local last = math.min(first + 49, #addresses)
  local ahead = bytes
  for i = first, careful and last or 0 do
    ahead = ahead + redis.call('HSTRLEN', KEYS[2], addresses[i])
    if ahead > most and i < last then
      last = i
      head[9] = 1
    end
    if ahead > most then break end
  end
  local records = redis.call('HMGET', KEYS[2], unpack(addresses, first, last))
  for i = first, last do
    local record = records[i - first + 1]
    if record then
      head[#head + 1] = addresses[i]
      head[#head + 1] = record
      bytes = bytes + #record
    end
  end
end
return head
