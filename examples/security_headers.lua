-- rsp examples/security_headers.lua
--
-- The same security headers on every response: those of the servers, and the answers of rsp itself (redirects, a 502
-- while a server is away). Try:
--
--   curl -si http://127.0.0.1:8080/ | grep -i -e x-frame -e content-security
--   curl -si http://127.0.0.1:8080/old | grep -i x-frame      rsp's own redirect has them too

rsp.listen "127.0.0.1:8080"

rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

local headers = {
  ["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'",
  ["X-Content-Type-Options"] = "nosniff",
  ["X-Frame-Options"] = "DENY",
  ["Referrer-Policy"] = "strict-origin-when-cross-origin",
}

local function secure(_, res)
  for name, value in pairs(headers) do
    if not res.headers[name] then res.headers[name] = value end -- a page that has its own policy keeps it
  end
  res.headers["Server"] = nil
  res.headers["X-Powered-By"] = nil
end

rsp.on_request(function(req)
  if req.path == "/old" then return rsp.redirect("/new", 301) end
end)

rsp.on_response(secure)
rsp.on_answer(secure)
