-- rsp test examples/geo.lua

rsp.test("the smallest network around an address says the country", function(t)
  local function of(from)
    local to = t:request { from = from, headers = { ["X-Country"] = "made up" } }
    return { to.pool, to.headers["X-Country"] }
  end
  t:equal(of "127.0.0.1", { "german", "de" })
  t:equal(of "127.0.0.2", { "others", "fr" })
  t:equal(of "2001:db8::7", { "others", "nl" })
  t:equal(of "203.0.113.1", { "others" })
end)
