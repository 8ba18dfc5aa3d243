-- rsp examples/varnish.lua
--
-- rsp on port 80 in front of Varnish on 83, which caches for nginx on 81. This is the machine the original rsp
-- was written for; it had haproxy beside it on port 82, in front of the same Varnish, to compare the two:
--
--   browser ──► rsp :80 ──────► Varnish :83 ──► nginx :81
--               haproxy :82 ──►
--
-- scripts/varnish-chain starts all four on high ports. Port 80 needs root or a capability: rsp help deploy.

rsp.listen "0.0.0.0:80"

rsp.pool {
  name = "varnish",
  servers = { "127.0.0.1:83" },
  -- Varnish may wait for a slow page of nginx; 60 s to the first byte is the default, said here to be found.
  timeouts = { connect = "1s", response = "60s" },
}

-- With one pool and no rsp.on_request, every request goes to that pool.
