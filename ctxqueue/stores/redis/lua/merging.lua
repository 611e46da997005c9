-- Merges of two packed values that need not be looked through, whatever else a list or a number is part of.
local function array_header(size)
  if size < 16 then return string.char(0x90 + size) end
  if size < 65536 then return struct.pack('>BH', 0xdc, size) end
  return struct.pack('>BI4', 0xdd, size)
end

-- Returns the number of items of a packed list and where they begin, or nothing if it is no list.
local function open_array(packed)
  local first = string.byte(packed, 1)
  if first >= 0x90 and first <= 0x9f then return first - 0x90, 2 end
  if first == 0xdc then return struct.unpack('>H', string.sub(packed, 2, 3)), 4 end
  if first == 0xdd then return struct.unpack('>I4', string.sub(packed, 2, 5)), 6 end
end

-- Returns a packed number and whether it is a float; nothing for what is no number, or one that a double cannot hold.
local function open_number(packed)
  local first = string.byte(packed, 1)
  local is_float = first == 0xca or first == 0xcb
  if not (is_float or first <= 0x7f or first >= 0xe0 or first >= 0xcc and first <= 0xd3) then return end
  local number = cmsgpack.unpack(packed)
  if not is_float and math.abs(number) >= 2 ^ 53 then return end
  return number, is_float
end

-- Whether a packed value is encrypted: an extension of code 11.
local function is_sealed(packed)
  local first = string.byte(packed, 1)
  local at = first == 0xc7 and 3 or first == 0xc8 and 4 or first == 0xc9 and 6
  return at and string.byte(packed, at) == 11
end

-- Returns the packed result of a merge of two packed values, or nothing and why it cannot be done here.
local function merge_packed(operation, held, value, max_merge)
  if #held + #value > max_merge then return nil, 'merge_outside' end
  if is_sealed(held) then return nil, 'merge_outside' end
  if operation == 'append' then
    local held_size, held_from = open_array(held)
    if not held_size then return nil, 'not_a_list' end
    local new_size, new_from = open_array(value)
    return array_header(held_size + new_size) .. string.sub(held, held_from) .. string.sub(value, new_from)
  end
  local left, left_is_float = open_number(held)
  local right, right_is_float = open_number(value)
  if not left or not right then return nil, 'merge_outside' end
  if operation == 'maximum' then return right > left and value or held end
  if operation == 'minimum' then return right < left and value or held end
  local sum = left + right
  if left_is_float or right_is_float then
    if sum ~= sum or math.abs(sum) == math.huge then return nil, 'merge_outside' end
    return struct.pack('>Bd', 0xcb, sum)
  end
  if math.abs(sum) >= 2 ^ 53 then return nil, 'merge_outside' end
  return cmsgpack.pack(sum)
end
