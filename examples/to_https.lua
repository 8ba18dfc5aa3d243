-- rsp examples/to_https.lua
--
-- rsp behind a proxy that ends TLS (a cloud's balancer, a CDN): whoever came to it over plain HTTP is sent to https, by
-- what the proxy says in X-Forwarded-Proto. Only addresses in `trusted` are believed. Try:
--
--   curl -si http://127.0.0.1:8080/a?b | grep -i location                 sent to https
--   curl -s -H 'X-Forwarded-Proto: https' http://127.0.0.1:8080/a?b       served
--
-- Where rsp ends TLS itself, no script is needed: rsp.listen { "0.0.0.0:80", redirect = "https" }

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

rsp.settings { trusted = { "127.0.0.1" } } -- the proxy

rsp.on_request(function(req)
  if req.path == "/healthz" then return rsp.respond { body = "fine\n" } end -- the proxy checks over plain HTTP
  if req.host == "" then return rsp.respond { status = 400 } end
  if req.scheme == "http" then return rsp.redirect("https://" .. req.host .. req.target, 308) end
  return web
end)

rsp.on_response(function(_, res)
  res.headers["Strict-Transport-Security"] = "max-age=31536000"
end)
