-- rsp test examples/canary.lua

rsp.test("a cookie chooses the new version or keeps it away", function(t)
  t:equal(t:request { url = "/", headers = { Cookie = "canary=yes" } }.pool, "canary")
  t:equal(t:request { url = "/", headers = { Cookie = "canary=no" } }.pool, "stable")
end)

rsp.test("some of the others get it, the same ones each time", function(t)
  local canaries = 0
  for last = 1, 200 do
    local from = "203.0.113." .. last
    local pool = t:request { from = from }.pool
    t:equal(t:request { from = from }.pool, pool, from)
    if pool == "canary" then canaries = canaries + 1 end
  end
  t:ok(canaries > 0 and canaries < 40, canaries .. " of 200")
end)
