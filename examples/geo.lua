-- rsp examples/geo.lua
--
-- Clients by country, from a file of networks (a GeoIP list has some hundred thousand lines): one country has servers of
-- its own, and all servers see the country in a header. The file is read again when it changes. Try:
--
--   curl http://127.0.0.1:8080/                          the servers of de
--   curl --interface 127.0.0.2 http://127.0.0.1:8080/    the others

rsp.listen "127.0.0.1:8080"

local german = rsp.pool { name = "german", servers = { "127.0.0.1:8081" } }
local others = rsp.pool { name = "others", servers = { "127.0.0.1:8082" } }

local countries = rsp.map("countries.map", { kind = "cidr" })

rsp.on_request(function(req)
  local country = countries:get(req.client_ip)
  req.headers["X-Country"] = country -- nil takes away what the client may have sent
  return country == "de" and german or others
end)
