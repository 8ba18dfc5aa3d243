-- rsp test examples/jwt.lua

-- {"alg":"HS256","typ":"JWT"} and {"sub":"ada","exp":4102444800}, signed with "secret".
local HEAD, BODY = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9"
local SIGNATURE = "QUMQHIKstvv14tJ35T1WmU09EraswkMJLlcOLsR75HI"

local function with(t, token)
  return t:request { url = "/", headers = { Authorization = token, ["X-User"] = "eve" } }
end

rsp.test("a signed token passes, and the servers learn whose it is", function(t)
  local to = with(t, "Bearer " .. HEAD .. "." .. BODY .. "." .. SIGNATURE)
  t:equal(to.pool, "web")
  t:equal(to.headers["X-User"], "ada")
end)

rsp.test("everything else is a 401 that says why", function(t)
  for token, why in pairs {
    ["Bearer " .. HEAD .. "." .. BODY .. "." .. SIGNATURE:reverse()] = "wrong signature",
    ["Bearer " .. HEAD .. ".e30." .. SIGNATURE] = "wrong signature",
    ["Bearer x"] = "no token",
    ["Basic eve"] = "no token",
  } do
    local answer = with(t, token)
    t:equal(answer.status, 401)
    t:ok(answer.headers["WWW-Authenticate"]:find(why, 1, true), token)
  end
end)
