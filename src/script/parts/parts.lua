-- The Lua around the parts: `parts` has functions of Rust, whose first result is what is wrong with the call, or nil.
local rsp, parts = ...
local error, setmetatable, pairs = error, setmetatable, pairs

-- Raises at the line that called the part: the calls of this one are tail calls.
local function told(wrong, ...)
  if wrong then error(wrong, 2) end
  return ...
end

local function raising(part)
  return function(...) return told(part(...)) end
end

-- A table of functions that scripts can read and not change.
local function library(name, functions)
  local function refuse(_, key)
    error(name .. "." .. key .. ": cannot be assigned", 2)
  end
  local function unknown(_, key)
    local known = {}
    for word in pairs(functions) do known[#known + 1] = word end
    table.sort(known)
    error(name .. "." .. tostring(key) .. ": unknown, expected one of " .. table.concat(known, ", "), 2)
  end
  setmetatable(functions, { __index = unknown })
  return setmetatable({}, { __index = functions, __newindex = refuse, __metatable = false })
end

local array_mark = parts.array_mark
local function array(list)
  if type(list) ~= "table" then error("rsp.json.array: got a " .. type(list) .. ", expected a table", 2) end
  if getmetatable(list) then return list end
  return setmetatable(list, array_mark)
end

for _, name in ipairs { "sha256", "hmac_sha256", "equal", "random", "now", "log" } do
  rsp[name] = raising(parts[name])
end
for _, name in ipairs { "base64", "hex", "url" } do
  rsp[name] = library("rsp." .. name, {
    encode = raising(parts[name .. "_encode"]),
    decode = raising(parts[name .. "_decode"]),
  })
end
rsp.json = library("rsp.json", {
  encode = raising(parts.json_encode),
  decode = raising(parts.json_decode),
  null = parts.json_null,
  array = array,
})
