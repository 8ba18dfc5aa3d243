-- rsp examples/websocket.lua
--
-- WebSockets beside ordinary pages: /ws/ goes to the program that speaks WebSocket, the rest to the web server.
-- Nothing has to be switched on: `Upgrade: websocket` passes, and after the 101 both directions are one tunnel.

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }
local ws  = rsp.pool {
  name = "ws",
  servers = { "127.0.0.1:8082" },
  -- A new WebSocket goes where the fewest are open: they stay for hours, so turns would not spread them well.
  balance = "least_connections",
}

rsp.on_request(function(req)
  if req.path:sub(1, 4) == "/ws/" then return ws end
  return web
end)

-- A tunnel in which no byte moves for this long is closed (default "1h"). A ping of the application counts as bytes.
rsp.settings { timeouts = { tunnel = "6h" } }

-- When rsp stops, it closes each WebSocket between two frames, with status 1012 (service restart): clients should then
-- connect again. They are not closed all at once, but spread over most of `drain_timeout` (default "30s").
