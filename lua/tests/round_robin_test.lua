local function picked(t)
  return t:request("http://turns.example/").server
end

rsp.test("servers take turns", function(t)
  local order = {}
  for i = 1, 6 do order[i] = picked(t) end
  t:equal(order, { "a", "b", "c", "a", "b", "c" })
end)

rsp.test("the order holds while a server is missing", function(t)
  t:equal(picked(t), "a")
  t:server("turns/b", { up = false })
  t:equal(picked(t), "c")
  t:equal(picked(t), "a")
  t:server("turns/b", { up = true })
  t:equal(picked(t), "b")
end)

rsp.test("nobody gets a request where nobody is up", function(t)
  for _, name in ipairs { "a", "b", "c" } do t:server("turns/" .. name, { up = false }) end
  t:equal(t:request("http://turns.example/").status, 503)
end)
