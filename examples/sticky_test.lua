-- rsp test examples/sticky.lua

rsp.test("a browser stays with its server, and its cookie stays with rsp", function(t)
  local server = t:request("/").server
  local cookie = t:response {}.headers["Set-Cookie"]
  t:ok(cookie:find("^srv="), cookie)
  t:ok(cookie:find("HttpOnly", 1, true), cookie)
  for _ = 1, 5 do
    local to = t:request { url = "/", headers = { Cookie = cookie:match("^[^;]+") } }
    t:equal(to.server, server)
    t:equal(to.headers["Cookie"], nil)
  end
end)

rsp.test("when its server is down, a browser goes to the other one", function(t)
  local server = t:request("/").server
  local cookie = t:response {}.headers["Set-Cookie"]:match("^[^;]+")
  t:server("shop/" .. server, { up = false })
  t:ok(t:request { url = "/", headers = { Cookie = cookie } }.server ~= server)
end)
