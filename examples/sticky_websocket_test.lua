-- rsp test examples/sticky_websocket.lua

local function open(t, origin, cookie)
  local headers = { Connection = "Upgrade", Upgrade = "websocket", Origin = origin, Cookie = cookie }
  return t:request { url = "/socket", headers = headers }
end

rsp.test("the WebSocket meets the server of the page", function(t)
  local server = t:request("/").server
  local cookie = t:response {}.headers["Set-Cookie"]:match("^[^;]+")
  for _ = 1, 3 do t:equal(open(t, "http://127.0.0.1:8080", cookie).server, server) end
end)

rsp.test("a new browser goes where fewer WebSockets are open", function(t)
  t:server("chat/chat1", { in_flight = 10 })
  t:equal(t:request("/").server, "chat2")
end)

rsp.test("pages of other sites may not open one", function(t)
  t:equal(open(t, "https://evil.example").status, 403)
  t:equal(open(t, "https://chat.example.com").pool, "chat")
end)
