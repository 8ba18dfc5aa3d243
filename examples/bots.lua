-- rsp examples/bots.lua
--
-- Keeps crawlers away by what they call themselves, and scanners by what they ask for; networks of our own may do all.
-- Regular expressions are those of Rust's regex crate: they never backtrack. Try:
--
--   curl -i --interface 127.0.0.2 -A 'BadBot/1.0' http://127.0.0.1:8080/    403
--   curl -i --interface 127.0.0.2 http://127.0.0.1:8080/wp-login.php        404

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

local ours = rsp.cidr { "10.0.0.0/8", "127.0.0.1", "::1" }
local crawlers = rsp.regex [[(?i)\b(badbot|scrapy|python-requests)\b]]
local scans = rsp.regex [[(?i)\.(?:php|asp|env)$|/\.git(?:/|$)]]

rsp.on_request(function(req)
  if ours:has(req.client_ip) then return web end
  if crawlers:match(req.headers["User-Agent"] or "") then return rsp.respond { status = 403 } end
  if scans:match(req.path) then return rsp.respond { status = 404 } end
  return web
end)
