-- rsp examples/sticky_websocket.lua
--
-- A chat whose rooms live in the memory of its servers, with a library that opens a WebSocket or falls back to polling
-- (socket.io and its kind): every request of one browser has to meet the same server. The cookie that says which one is
-- given with the first answer, and the WebSocket brings it along. Try:
--
--   curl -si http://127.0.0.1:8080/ | grep -i set-cookie

rsp.listen "127.0.0.1:8080"

local chat = rsp.pool {
  name = "chat",
  servers = {
    { "127.0.0.1:9001", name = "chat1" },
    { "127.0.0.1:9002", name = "chat2" },
  },
  balance = "least_connections", -- for new browsers: open WebSockets count
  sticky = {
    cookie = "chat",
    secret = "replace me: openssl rand -hex 16", -- the same in all rsp in front of these servers
  },
}

-- Only pages of this site may open a WebSocket: browsers send cookies along with those of any other.
local ORIGINS = { ["http://127.0.0.1:8080"] = true, ["https://chat.example.com"] = true }

rsp.on_request(function(req)
  local origin = req.headers["Origin"]
  if req.headers["Upgrade"] and origin and not ORIGINS[origin] then
    return rsp.respond { status = 403, body = "not from there\n" }
  end
  return chat
end)

rsp.settings { timeouts = { tunnel = "6h" } } -- a WebSocket in which nothing moves for so long is closed
