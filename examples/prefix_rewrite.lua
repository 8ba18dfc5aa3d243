-- rsp examples/prefix_rewrite.lua
--
-- Programs behind one name that know nothing of the prefix under which they are reached: /shop/cart goes to the shop as
-- /cart, and redirects of the shop come back under /shop. Try:
--
--   curl -i http://127.0.0.1:8080/shop/cart?id=1    the shop gets /cart?id=1
--   curl -i http://127.0.0.1:8080/                  goes to web as it is
--
-- The log keeps what the client asked for.

rsp.listen "127.0.0.1:8080"

local web  = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }
local shop = rsp.pool { name = "shop", servers = { "127.0.0.1:8082" } }

local PREFIX = "/shop"

rsp.on_request(function(req)
  if req.path == PREFIX then return rsp.redirect(PREFIX .. "/", 301) end
  if req.path:sub(1, #PREFIX + 1) == PREFIX .. "/" then
    req.headers["X-Forwarded-Prefix"] = PREFIX -- for programs that can make links with it
    req.path = req.path:sub(#PREFIX + 1)
    return shop
  end
  return web
end)

rsp.on_response(function(req, res)
  local location = res.headers["Location"]
  if location and location:sub(1, 1) == "/" and req.headers["X-Forwarded-Prefix"] == PREFIX then
    res.headers["Location"] = PREFIX .. location
  end
end)
