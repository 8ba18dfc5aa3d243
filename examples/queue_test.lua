-- rsp test examples/queue.lua

rsp.test("a process with room gets the request", function(t)
  t:server("app/app1", { in_flight = 2 })
  t:server("app/app2", { in_flight = 1 })
  t:equal(t:request("/").server, "app2")
end)

rsp.test("a request waits where all are busy", function(t)
  t:server("app/app1", { in_flight = 2 })
  t:server("app/app2", { in_flight = 2 })
  local to = t:request("/")
  t:equal(to.pool, "app")
  t:equal(to.server, nil)
  t:ok(to.error:find("waits"), to.error)
end)
