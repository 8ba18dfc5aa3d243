-- rsp examples/by_path.lua
--
-- One site from several programs, told apart by the path; plus what one often wants beside it: an answer from rsp
-- itself, a redirect, a header more and a header less. Try:
--
--   curl -i http://127.0.0.1:8080/                goes to web
--   curl -i http://127.0.0.1:8080/static/logo.png goes to static
--   curl -i http://127.0.0.1:8080/old/page?x=1    is sent on to /new/page?x=1
--   curl -i http://127.0.0.1:8080/healthz         is answered by rsp

rsp.listen "127.0.0.1:8080"

local web    = rsp.pool { name = "web", servers = { "127.0.0.1:8081", "127.0.0.1:8082" } }
local static = rsp.pool { name = "static", servers = { "127.0.0.1:8083" } }

local function starts(text, prefix) -- plain comparison: no pattern, nothing to escape
  return text:sub(1, #prefix) == prefix
end

rsp.on_request(function(req)
  local path = req.path

  if path == "/healthz" then
    return rsp.respond { status = 200, headers = { ["Content-Type"] = "text/plain" }, body = "fine\n" }
  end
  if starts(path, "/old/") then
    return rsp.redirect("/new/" .. req.target:sub(#"/old/" + 1), 301) -- target: path and query as the client sent them
  end
  if starts(path, "/static/") then
    req.headers["Cookie"] = nil -- files need none, and a cache keeps them more readily
    return static
  end
  return web
end)

rsp.on_response(function(req, res)
  res.headers["Server"] = nil
  if starts(req.path, "/static/") and res.status == 200 then
    res.headers["Cache-Control"] = "public, max-age=3600"
  end
end)
