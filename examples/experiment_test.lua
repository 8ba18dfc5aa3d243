-- rsp test examples/experiment.lua

rsp.test("a visitor keeps the variant, and both have some", function(t)
  local seen = { a = 0, b = 0 }
  for visitor = 1, 50 do
    local request = { url = "/", headers = { Cookie = "visitor=" .. visitor, ["X-Variant"] = "made up" } }
    local variant = t:request(request).headers["X-Variant"]
    t:equal(t:request(request).headers["X-Variant"], variant)
    seen[variant] = (seen[variant] or 0) + 1
  end
  t:ok(seen.a > 10 and seen.b > 10, "of 50: " .. seen.a .. " a, " .. seen.b .. " b")
end)

rsp.test("only a new visitor gets a cookie", function(t)
  t:equal(t:request("/").headers["X-Variant"], "a")
  t:ok(t:response {}.headers["Set-Cookie"]:find("^visitor=%x+; Path=/"))
  t:request { url = "/", headers = { Cookie = "visitor=1" } }
  t:equal(t:response {}.headers["Set-Cookie"], nil)
end)
