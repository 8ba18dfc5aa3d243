local function picked(t)
  return t:request("http://busy.example/").server
end

rsp.test("the server with the fewest requests is next", function(t)
  t:server("busy/a", { in_flight = 3 })
  t:server("busy/b", { in_flight = 1 })
  t:server("busy/c", { in_flight = 2 })
  t:equal(picked(t), "b")
  t:server("busy/b", { in_flight = 5 })
  t:equal(picked(t), "c")
end)

rsp.test("equals take turns", function(t)
  local order = {}
  for i = 1, 4 do order[i] = picked(t) end
  t:equal(order, { "a", "b", "c", "a" })
end)
