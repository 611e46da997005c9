-- The store's clock in microseconds; never behind what commits of this workflow have shown.
local function clock_now(shown)
  local t = redis.call('TIME')
  return math.max(tonumber(t[1]) * 1000000 + tonumber(t[2]), tonumber(shown) or 0)
end

-- For text: Lua's tostring() would print an instant as 1.7e+15. A command takes the number itself, and a reply too.
local function digits(number)
  return string.format('%.0f', number)
end
