-- rsp test examples/maintenance.lua

rsp.test("the site is there while the file does not say otherwise", function(t)
  t:equal(t:request("/").pool, "web")
  t:equal(t:request { from = "127.0.0.1" }.pool, "web")
end)
