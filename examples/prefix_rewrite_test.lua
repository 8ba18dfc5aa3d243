-- rsp test examples/prefix_rewrite.lua

rsp.test("the shop does not see its prefix", function(t)
  local to = t:request("/shop/cart?id=1")
  t:equal({ to.pool, to.target }, { "shop", "/cart?id=1" })
  t:equal(to.headers["X-Forwarded-Prefix"], "/shop")
end)

rsp.test("redirects of the shop come back under the prefix, those to elsewhere stay", function(t)
  t:request("/shop/cart")
  t:equal(t:response { status = 302, headers = { Location = "/pay" } }.headers["Location"], "/shop/pay")
  t:equal(t:response { status = 302, headers = { Location = "https://x/" } }.headers["Location"], "https://x/")
  t:request("/")
  t:equal(t:response { status = 302, headers = { Location = "/pay" } }.headers["Location"], "/pay")
end)

rsp.test("the prefix alone is completed, and one that only begins so is web's", function(t)
  t:equal(t:request("/shop").headers["Location"], "/shop/")
  t:equal(t:request("/shopping").pool, "web")
end)
