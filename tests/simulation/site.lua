-- What rsp runs with in the simulation. Ports 1 to 3 are the servers' numbers.
local web = rsp.pool { servers = { "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3" } }
-- Port 4 is the server that gets copies, in the seeds that make some.
rsp.pool { name = "shadow", servers = { "127.0.0.1:4" }, retries = 0 }
rsp.listen "127.0.0.1:80"
rsp.listen { "127.0.0.1:443", sni = function(name)
  if not name:find("%.unknown%.example$") then return web end
end }
-- What some clients ask for by number is answered here.
local bytes = {}
for i = 0, 250 do bytes[#bytes + 1] = string.char(i) end
local unit, pages = table.concat(bytes), {}
for i, size in ipairs { 100, 16400, 33000, 150000 } do
  pages[tostring(i)] = unit:rep(size // #unit + 1):sub(1, size)
end
rsp.on_request(function(req)
  local page = pages[req.headers["X-Page"]]
  if not page then return web end
  return rsp.respond { headers = { ["X-Id"] = req.path:sub(2), ["X-Attempt"] = "1" }, body = page }
end)
rsp.settings { upgrades = { "websocket", "tcp" } }
rsp.on_response(function(req, res) res.headers["X-Seen"] = req.method end)
