-- rsp test examples/cors.lua

local function preflight(t, origin)
  local headers = { Origin = origin, ["Access-Control-Request-Method"] = "PUT" }
  return t:request { method = "OPTIONS", url = "/", headers = headers }
end

rsp.test("rsp answers preflights, for known origins only", function(t)
  local answer = preflight(t, "https://app.example.com")
  t:equal(answer.status, 204)
  t:equal(answer.headers["Access-Control-Allow-Origin"], "https://app.example.com")
  t:equal(preflight(t, "https://evil.example").status, 403)
end)

rsp.test("an OPTIONS request that is no preflight goes to the API", function(t)
  t:equal(t:request { method = "OPTIONS", url = "/" }.pool, "api")
end)

rsp.test("known origins may read responses, and caches keep them apart", function(t)
  t:request { url = "/", headers = { Origin = "https://app.example.com" } }
  t:equal(t:response {}.headers["Access-Control-Allow-Origin"], "https://app.example.com")
  t:request { url = "/", headers = { Origin = "https://evil.example" } }
  local response = t:response {}
  t:equal(response.headers["Access-Control-Allow-Origin"], nil)
  t:equal(response.headers["Vary"], "Origin")
end)
