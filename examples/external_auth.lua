-- rsp examples/external_auth.lua
--
-- Another server says who may pass, as nginx's auth_request does it: it gets the headers of each request for /private/
-- and answers 200 with X-User, or what the client is to get instead. Try:
--
--   curl -i http://127.0.0.1:8080/private/                                      what the server at 9000 answers
--   curl -i -H 'Authorization: Bearer good' http://127.0.0.1:8080/private/      the same, or the page

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }
local auth = rsp.pool { name = "auth", servers = { "127.0.0.1:9000" } }

rsp.on_request(function(req)
  req.headers["X-User"] = nil -- only we say who it is
  if req.path:sub(1, 9) ~= "/private/" then return web end
  local answer, reason = rsp.fetch {
    pool = auth, path = "/check", timeout = "2s",
    headers = {
      Authorization = req.headers["Authorization"] or "",
      Cookie = req.headers["Cookie"] or "",
      ["X-Original-URI"] = req.target,
      ["X-Original-Method"] = req.method,
    },
  }
  if not answer then
    rsp.log("warn", "cannot ask the authentication server: " .. reason)
    return rsp.respond { status = 503, body = "try again\n" }
  end
  if answer.status ~= 200 then
    local headers = { ["WWW-Authenticate"] = answer.headers["WWW-Authenticate"] }
    return rsp.respond { status = answer.status, headers = headers, body = answer.body }
  end
  req.headers["X-User"] = answer.headers["X-User"]
  return web
end)
