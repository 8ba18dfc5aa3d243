-- rsp test examples/external_auth.lua

rsp.test("who is known passes, and the server learns who it is", function(t)
  t:fetch(function(req)
    t:equal(req.headers["X-Original-URI"], "/private/a?b")
    return { status = 200, headers = { ["X-User"] = "ada" } }
  end)
  local to = t:request { url = "/private/a?b", headers = { ["X-User"] = "eve" } }
  t:equal(to.pool, "web")
  t:equal(to.headers["X-User"], "ada")
end)

rsp.test("others get the answer of the authentication server", function(t)
  t:fetch(function() return { status = 401, headers = { ["WWW-Authenticate"] = "Bearer" }, body = "no\n" } end)
  local answer = t:request("/private/")
  t:equal(answer.status, 401)
  t:equal(answer.headers["WWW-Authenticate"], "Bearer")
  t:equal(answer.body, "no\n")
end)

rsp.test("without it nobody passes", function(t)
  t:equal(t:request("/private/").status, 503)
end)

rsp.test("the rest is not asked about, and nobody says himself who he is", function(t)
  local to = t:request { url = "/", headers = { ["X-User"] = "root" } }
  t:equal(to.pool, "web")
  t:equal(to.headers["X-User"], nil)
end)
