-- rsp test examples/unix_socket.lua

rsp.test("everything goes to the application", function(t)
  local to = t:request("/")
  t:equal(to.pool, "app")
  t:equal(to.server, "unix:/tmp/app.sock")
end)
