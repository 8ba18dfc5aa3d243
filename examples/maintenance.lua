-- rsp examples/maintenance.lua
--
-- A maintenance page that a file switches on and off, without a reload. Operators at their own addresses still get
-- through. Put "on yes" into maintenance.map, then:
--
--   curl -i --interface 127.0.0.2 http://127.0.0.1:8080/    503 within a second, until the file says something else
--   curl -i http://127.0.0.1:8080/                          127.0.0.1 sees the site

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

local switch = rsp.map "maintenance.map"
local operators = rsp.cidr { "127.0.0.1", "10.0.0.0/8" }

local PAGE = [[<!doctype html>
<title>Back soon</title>
<h1>Back soon</h1>
<p>We are working on this site. Please try again in a few minutes.</p>
]]

rsp.on_request(function(req)
  if switch:get("on") ~= "yes" or operators:has(req.client_ip) then return web end
  local headers = { ["Content-Type"] = "text/html; charset=utf-8", ["Retry-After"] = "300", ["Cache-Control"] = "no-store" }
  return rsp.respond { status = 503, headers = headers, body = PAGE }
end)
