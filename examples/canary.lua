-- rsp examples/canary.lua
--
-- A new version for a twentieth of the clients, the same ones each time; a cookie chooses it or keeps it away. Try:
--
--   curl http://127.0.0.1:8080/                        nearly always the stable version
--   curl --cookie canary=yes http://127.0.0.1:8080/    the new one
--   curl --cookie canary=no http://127.0.0.1:8080/     the stable one

rsp.listen "127.0.0.1:8080"

local stable = rsp.pool { name = "stable", servers = { "127.0.0.1:8081" } }
local canary = rsp.pool { name = "canary", servers = { "127.0.0.1:8082" } }

local split = rsp.split { { stable, 95 }, { canary, 5 }, by = "client_ip" } -- more for canary: its clients stay

rsp.on_request(function(req)
  local wish = req.cookies["canary"]
  if wish == "yes" then return canary end
  if wish == "no" then return stable end
  return split:pick(req)
end)
