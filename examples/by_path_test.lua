-- rsp test examples/by_path.lua
--
-- What examples/by_path.lua promises in its first lines, and a little more.

rsp.test("pages go to web, and its servers take turns", function(t)
  t:equal(t:request("/").pool, "web")
  local first, second = t:request("/").server, t:request("/").server
  t:ok(first ~= second)
end)

rsp.test("files go to static, without cookies", function(t)
  local to = t:request { url = "/static/logo.png", headers = { Cookie = "a=b" } }
  t:equal(to.pool, "static")
  t:equal(to.headers["Cookie"], nil)
  t:equal(t:request("/statics").pool, "web")
end)

rsp.test("an old page is sent on with its query", function(t)
  local answer = t:request("/old/page?x=1")
  t:equal(answer.status, 301)
  t:equal(answer.headers["Location"], "/new/page?x=1")
end)

rsp.test("rsp itself says that it is well", function(t)
  local answer = t:request("/healthz")
  t:equal(answer.status, 200)
  t:equal(answer.body, "fine\n")
  t:equal(answer.pool, nil)
end)

rsp.test("files may be kept, but not their absence; nobody learns what the servers are", function(t)
  t:request("/static/logo.png")
  local response = t:response { headers = { Server = "nginx" } }
  t:equal(response.headers["Cache-Control"], "public, max-age=3600")
  t:equal(response.headers["Server"], nil)
  t:equal(t:response { status = 404 }.headers["Cache-Control"], nil)
  t:request("/")
  t:equal(t:response {}.headers["Cache-Control"], nil)
end)
