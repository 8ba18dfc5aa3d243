-- rsp test examples/basic_auth.lua

-- "ada:secret", "ada:wrong", "eve:secret" and "ada", in base64.
local RIGHT, WRONG = "YWRhOnNlY3JldA==", { "YWRhOndyb25n", "ZXZlOnNlY3JldA==", "YWRh", "!" }

local function with(t, credentials)
  return t:request { url = "/", headers = { Authorization = "Basic " .. credentials } }
end

rsp.test("a user with the right password passes, and the server does not see it", function(t)
  local to = with(t, RIGHT)
  t:equal(to.pool, "web")
  t:equal(to.headers["X-User"], "ada")
  t:equal(to.headers["Authorization"], nil)
end)

rsp.test("everybody else is asked for one", function(t)
  for _, wrong in ipairs(WRONG) do
    local answer = with(t, wrong)
    t:equal(answer.status, 401)
    t:ok(answer.headers["WWW-Authenticate"]:find("^Basic "))
  end
  t:equal(t:request("/").status, 401)
end)
