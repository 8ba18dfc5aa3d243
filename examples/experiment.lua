-- rsp examples/experiment.lua
--
-- Half of the visitors get variant a, half get b, by a hash of a cookie that rsp gives to new ones. The servers see the
-- variant in a header. Try:
--
--   curl -i http://127.0.0.1:8080/                           sets the cookie
--   curl --cookie visitor=1 http://127.0.0.1:8080/           always the same variant
--   curl --cookie visitor=2 http://127.0.0.1:8080/           perhaps the other one

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

-- Another name for the next experiment: it divides the visitors in another way.
local variants = rsp.split { { "a", 50 }, { "b", 50 }, by = "cookie:visitor", name = "blue-button" }

rsp.on_request(function(req)
  req.headers["X-Variant"] = req.cookies["visitor"] and variants:pick(req) or "a"
  return web
end)

rsp.on_response(function(req, res)
  if not req.cookies["visitor"] then
    res.headers:add("Set-Cookie", "visitor=" .. rsp.hex.encode(rsp.random(8)) .. "; Path=/; Max-Age=31536000")
  end
end)
