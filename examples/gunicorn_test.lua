-- rsp test examples/gunicorn.lua

rsp.test("the less busy process gets the next request", function(t)
  t:server("app/app1", { in_flight = 1 })
  t:equal(t:request("/").server, "app2")
  t:server("app/app1", { in_flight = 0 })
  t:server("app/app2", { in_flight = 1 })
  t:equal(t:request("/").server, "app1")
end)
