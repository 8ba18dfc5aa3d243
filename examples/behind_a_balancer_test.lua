-- rsp test examples/behind_a_balancer.lua

rsp.test("a trusted balancer says who the client is", function(t)
  local to = t:request { url = "/", from = "10.0.0.1", headers = { ["X-Forwarded-For"] = "203.0.113.9" } }
  t:equal(to.pool, "app")
  t:equal(to.headers["X-Real-IP"], "203.0.113.9")
end)

rsp.test("nobody else is believed", function(t)
  local to = t:request { url = "/", from = "203.0.113.5", headers = { ["X-Forwarded-For"] = "10.1.1.1" } }
  t:equal(to.headers["X-Real-IP"], "203.0.113.5")
end)

rsp.test("a banned client gets a 403, also through the balancer", function(t)
  t:equal(t:request { from = "192.0.2.66" }.status, 403)
  local answer = t:request { from = "10.0.0.1", headers = { ["X-Forwarded-For"] = "192.0.2.66" } }
  t:equal(answer.status, 403)
  t:equal(answer.body, "no\n")
end)
