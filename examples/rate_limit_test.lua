-- rsp test examples/rate_limit.lua

local function ask(t, key, from)
  return t:request { url = "/", from = from, headers = { ["X-Api-Key"] = key } }
end

rsp.test("a key has twenty requests at once, then one every 0.6 s", function(t)
  for _ = 1, 20 do t:equal(ask(t, "k1").pool, "api") end
  local refused = ask(t, "k1")
  t:equal(refused.status, 429)
  t:equal(refused.headers["Retry-After"], "1")
  t:advance("700ms")
  t:equal(ask(t, "k1").pool, "api")
  t:equal(ask(t, "k1").status, 429)
end)

rsp.test("keys do not share a limit, clients without one share that of their address", function(t)
  for _ = 1, 20 do ask(t, "k1") end
  t:equal(ask(t, "k2").pool, "api")
  for _ = 1, 20 do t:equal(ask(t, nil, "203.0.113.1").pool, "api") end
  t:equal(ask(t, nil, "203.0.113.1").status, 429)
  t:equal(ask(t, nil, "203.0.113.2").pool, "api")
end)

rsp.test("responses say what is left", function(t)
  ask(t, "k1")
  t:equal(t:response {}.headers["RateLimit"], '"api";r=19;t=1')
end)
