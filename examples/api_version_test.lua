-- rsp test examples/api_version.lua

rsp.test("the header chooses the version, then the media type, then the newest one", function(t)
  local function of(headers)
    local to = t:request { url = "/users?n=1", headers = headers }
    return { to.pool, to.target }
  end
  t:equal(of { ["X-API-Version"] = "1" }, { "v1", "/v1/users?n=1" })
  t:equal(of { Accept = "application/vnd.example.v1+json" }, { "v1", "/v1/users?n=1" })
  t:equal(of { ["X-API-Version"] = "2", Accept = "application/vnd.example.v1+json" }, { "v2", "/v2/users?n=1" })
  t:equal(of {}, { "v2", "/v2/users?n=1" })
end)

rsp.test("a version that does not exist is a 406", function(t)
  t:equal(t:request { url = "/", headers = { ["X-API-Version"] = "9" } }.status, 406)
end)

rsp.test("caches learn what responses depend on", function(t)
  t:request("/")
  t:equal(t:response { headers = { Vary = "Cookie" } }.headers:all("Vary"), { "Cookie", "X-API-Version, Accept" })
end)
