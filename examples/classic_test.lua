-- rsp test examples/classic.lua

rsp.test("everything goes to the one server", function(t)
  local to = t:request { method = "POST", url = "http://example.com/a?b=1", body = "x" }
  t:equal(to.server, "127.0.0.1:8888")
  t:equal(to.target, "/a?b=1")
  t:equal(to.body, "x")
end)
