-- rsp test examples/by_host.lua

rsp.test("a host has its pool, whatever its case and port", function(t)
  t:equal(t:request("http://api.example.com/").pool, "api")
  t:equal(t:request("http://API.example.com:8080/v1").pool, "api")
end)

rsp.test("every other host is the site", function(t)
  t:equal(t:request("http://www.example.com/").pool, "web")
  t:equal(t:request("http://api.example.com.evil.example/").pool, "web")
end)
