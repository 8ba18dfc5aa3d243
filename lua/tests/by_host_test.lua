local function pool(t, host)
  return t:request("http://" .. host .. "/").pool
end

rsp.test("a name goes before a wildcard, and a longer wildcard before a shorter one", function(t)
  t:equal(pool(t, "turns.example"), "turns")
  t:equal(pool(t, "other.example"), "busy")
  t:equal(pool(t, "a.turns.example"), "turns")
  t:equal(pool(t, "a.b.c.example"), "busy")
end)

rsp.test("case, port and a dot at the end do not matter", function(t)
  t:equal(pool(t, "TURNS.Example:8080"), "turns")
  t:equal(pool(t, "turns.example."), "turns")
end)

rsp.test("a host that nobody knows is a 404", function(t)
  t:equal(t:request("http://example/").status, 404)
  t:equal(t:request("http://elsewhere.test/").status, 404)
end)
