-- The Lua around the parts: `parts` has functions of Rust, whose first result is what is wrong with the call, or nil.
local rsp, parts = ...
-- Functions of Lua's library are kept here: scripts may replace the globals.
local error, type, tostring = error, type, tostring
local setmetatable, getmetatable, pairs, ipairs = setmetatable, getmetatable, pairs, ipairs
local sort, concat = table.sort, table.concat

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
    sort(known)
    error(name .. "." .. tostring(key) .. ": unknown, expected one of " .. concat(known, ", "), 2)
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

for _, name in ipairs { "sha256", "hmac_sha256", "equal", "random", "now", "log", "regex" } do
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

-- Objects that a config makes. Their methods are called with a colon.
local objects = {}

local function object(kind, methods)
  local function unknown(_, key)
    local known = {}
    for word in pairs(methods) do known[#known + 1] = word end
    sort(known)
    error(kind .. ": " .. tostring(key) .. ": unknown, expected one of " .. concat(known, ", "), 2)
  end
  setmetatable(methods, { __index = unknown })
  local function refuse() error(kind .. ": cannot be changed", 2) end
  return setmetatable({}, { __index = methods, __newindex = refuse, __metatable = false, __name = kind })
end

local function told_by(name, wrong, ...)
  if wrong then error(name .. ": " .. wrong, 2) end
  return ...
end

-- A part as a method; `of` becomes the object that it must be called on.
local function method(name, part, of)
  return function(self, ...)
    if self ~= of.object then error(name .. ": called with a dot, expected a colon", 2) end
    return told_by(name, part(...))
  end
end

function objects.shared(methods)
  local of, all = {}, {}
  for name, part in pairs(methods) do all[name] = method(name, part, of) end
  of.object = object("rsp.shared", all)
  return of.object
end

function objects.rate(allow, state)
  -- `res` may be a table for rsp.respond, too.
  local function headers(_, res, key)
    local wrong, line, wait = state(key)
    if wrong then error("headers: " .. wrong, 2) end
    local fields = res.headers
    if fields == nil then
      fields = {}
      res.headers = fields
    end
    fields["RateLimit"] = line
    if wait then fields["Retry-After"] = wait end
  end
  return object("rsp.rate", { allow = allow, headers = headers })
end

function objects.concurrency(enter)
  local of = {}
  of.object = object("rsp.concurrency", { enter = method("enter", enter, of) })
  return of.object
end

function objects.split(index, values, of, name, by)
  local function key(req)
    if by then return by(req) end
    if of then return req[of][name] end
    if name then return req[name] end
  end
  local function pick(_, req)
    local wrong, at = index(key(req))
    if wrong then error("pick: " .. wrong, 2) end
    return values[at]
  end
  return object("rsp.split", { pick = pick })
end

function objects.cidr(has)
  local of = {}
  of.object = object("rsp.cidr", { has = method("has", has, of) })
  return of.object
end

function objects.map(get)
  local of = {}
  of.object = object("rsp.map", { get = method("get", get, of) })
  return of.object
end

function objects.regex(match, gsub)
  local of = {}
  of.object = object("rsp.regex", { match = method("match", match, of), gsub = method("gsub", gsub, of) })
  return of.object
end

-- `check` is true, false, or nil where too many wait.
function objects.basic_auth(credentials, check)
  local of = {}
  local function refused(status, headers, body)
    return nil, rsp.respond { status = status, headers = headers, body = body }
  end
  local function checked(self, req)
    if self ~= of.object then error("check: called with a dot, expected a colon", 2) end
    local _, user, password = credentials(req.headers["Authorization"])
    local right = false
    if user then right = check(user, password) end
    if right then return user end
    if right == nil then return refused(503, { ["Retry-After"] = "1" }, "too many passwords are being checked\n") end
    local challenge = 'Basic realm="restricted", charset="UTF-8"'
    return refused(401, { ["WWW-Authenticate"] = challenge }, "a user and a password are needed\n")
  end
  of.object = object("rsp.basic_auth", { check = checked })
  return of.object
end

return objects
