-- rsp test examples/to_https.lua

local function ask(t, scheme, from)
  return t:request { url = "http://example.com:8080/a?b", from = from, headers = { ["X-Forwarded-Proto"] = scheme } }
end

rsp.test("who came over plain HTTP is sent to https", function(t)
  local answer = ask(t, "http", "127.0.0.1")
  t:equal(answer.status, 308)
  t:equal(answer.headers["Location"], "https://example.com/a?b")
end)

rsp.test("who came over https is served, if the proxy says so", function(t)
  t:equal(ask(t, "https", "127.0.0.1").pool, "web")
  t:equal(t:response {}.headers["Strict-Transport-Security"], "max-age=31536000")
  t:equal(ask(t, "https", "203.0.113.1").status, 308)
end)

rsp.test("the proxy may check over plain HTTP", function(t)
  t:equal(t:request("/healthz").status, 200)
end)
