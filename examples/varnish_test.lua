-- rsp test examples/varnish.lua

rsp.test("everything goes to Varnish, which learns who asks", function(t)
  local to = t:request { url = "http://www.example.com/", from = "203.0.113.9" }
  t:equal(to.pool, "varnish")
  t:equal(to.host, "www.example.com")
  t:equal(to.headers["X-Forwarded-For"], "203.0.113.9")
end)
