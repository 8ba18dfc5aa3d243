-- rsp examples/behind_a_balancer.lua
--
-- rsp with a balancer in front and nginx behind; the script, the log and nginx all know the real client:
--
--   client ──► balancer ── PROXY header ───► rsp :8080 ── PROXY header ──► nginx :8082
--   client ──► balancer ── X-Forwarded-For ► rsp :8081 ──┘
--
-- In front, haproxy with `mode tcp`:   server rsp 10.0.0.2:8080 send-proxy-v2
-- or any that speaks HTTP and writes X-Forwarded-For and X-Forwarded-Proto, on port 8081.
-- Behind, nginx:   listen 127.0.0.1:8082 proxy_protocol; set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;
-- (Varnish instead: varnishd -a 127.0.0.1:8082,PROXY)

-- Every connection begins with a PROXY header, version 1 or 2. Only `trusted` addresses may connect.
rsp.listen { "0.0.0.0:8080", proxy_protocol = true }

-- Everybody may connect; X-Forwarded-* is believed from `trusted` addresses and thrown away from others.
rsp.listen "0.0.0.0:8081"

local app = rsp.pool {
  name = "app",
  servers = { "127.0.0.1:8082" },
  send_proxy = "v2",
}

local banned = { ["192.0.2.66"] = true }

rsp.on_request(function(req)
  -- The balancers' addresses are never seen here: client_ip is who they speak for.
  if banned[req.client_ip] then return rsp.respond { status = 403, body = "no\n" } end
  req.headers["X-Real-IP"] = req.client_ip
  return app
end)

rsp.settings {
  trusted = { "127.0.0.1", "10.0.0.0/8" },   -- the balancers, and nobody else
  access_log = { "-", format = "rsp" },
}
