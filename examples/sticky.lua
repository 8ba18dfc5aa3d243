-- rsp examples/sticky.lua
--
-- An application that keeps logins in the memory of one process: a browser has to stay with its server. The cookie does
-- not show which one it is, and nobody else can make one. Try:
--
--   curl -si http://127.0.0.1:8080/ | grep -i set-cookie
--   curl -s -H 'Cookie: srv=…' http://127.0.0.1:8080/      always the same server
--
-- When its server is down, a browser goes to another one, and stays there. To take one out in peace, give it weight = 0
-- and restart rsp: it gets nobody new.

rsp.listen "127.0.0.1:8080"

rsp.pool {
  name = "shop",
  servers = {
    { "127.0.0.1:9001", name = "shop1" },
    { "127.0.0.1:9002", name = "shop2" },
  },
  balance = "least_connections", -- for those without a cookie
  sticky = {
    cookie = "srv",
    secret = "replace me: openssl rand -hex 16", -- the same in all rsp in front of these servers
    max_age = "8h",
  },
  health = "tcp",
}
