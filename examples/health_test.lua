-- rsp test examples/health.lua

rsp.test("the spare server is idle while another one is up", function(t)
  for _ = 1, 10 do t:ok(t:request("/").server ~= "spare") end
  t:server("web/web1", { up = false })
  t:equal(t:request("/").server, "web2")
end)

rsp.test("the spare server takes over, and a request without any server is a 503", function(t)
  t:server("web/web1", { up = false })
  t:server("web/web2", { up = false })
  t:equal(t:request("/").server, "spare")
  t:server("web/spare", { up = false })
  t:equal(t:request("/").status, 503)
end)
