-- rsp test examples/websocket.lua

local upgrade = { Connection = "Upgrade", Upgrade = "websocket", ["Sec-WebSocket-Version"] = "13" }

rsp.test("a WebSocket goes where they are spoken", function(t)
  local to = t:request { url = "/ws/chat", headers = upgrade }
  t:equal(to.pool, "ws")
  t:equal(t:response { status = 101, headers = upgrade }.status, 101)
end)

rsp.test("a page goes to the web server", function(t)
  t:equal(t:request("/").pool, "web")
  t:equal(t:request("/wsx").pool, "web")
end)
