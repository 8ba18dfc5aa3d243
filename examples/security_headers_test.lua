-- rsp test examples/security_headers.lua

rsp.test("responses have the headers, and keep a policy of their own", function(t)
  t:request("/")
  local response = t:response { headers = { Server = "x/1.2", ["X-Powered-By"] = "y", ["X-Frame-Options"] = "SAMEORIGIN" } }
  t:equal(response.headers["X-Content-Type-Options"], "nosniff")
  t:equal(response.headers["X-Frame-Options"], "SAMEORIGIN")
  t:equal(response.headers["Server"], nil)
  t:equal(response.headers["X-Powered-By"], nil)
end)

rsp.test("answers of rsp have them too: its redirects, and a 503 without servers", function(t)
  local redirect = t:request("/old")
  t:equal(redirect.status, 301)
  t:equal(redirect.headers["X-Frame-Options"], "DENY")
  t:server("web/127.0.0.1:8081", { up = false })
  local answer = t:request("/")
  t:equal(answer.status, 503)
  t:equal(answer.headers["X-Frame-Options"], "DENY")
end)
