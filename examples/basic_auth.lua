-- rsp examples/basic_auth.lua
--
-- A user and a password before anything else, from a file as `htpasswd` of apache2-utils writes it (bcrypt, apr1, SHA, or
-- crypt's SHA-256 and SHA-512). The file is read again when it changes. Try:
--
--   curl -i http://127.0.0.1:8080/                    401
--   curl -i -u ada:secret http://127.0.0.1:8080/      the page, for which X-User is ada

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }
local users = rsp.basic_auth "users.htpasswd"

rsp.on_request(function(req)
  local user, answer = users:check(req)
  if not user then return answer end
  req.headers["X-User"] = user
  req.headers["Authorization"] = nil -- the server need not know the password
  return web
end)
