-- rsp test examples/bots.lua

local function status(t, agent, path, from)
  return t:request { url = path, from = from, headers = { ["User-Agent"] = agent } }.status
end

rsp.test("crawlers are refused by their name, browsers and half names are not", function(t)
  t:equal(status(t, "Mozilla/5.0 (compatible; BadBot/1.0)", "/"), 403)
  t:equal(status(t, "python-requests/2.31", "/"), 403)
  t:equal(status(t, "Mozilla/5.0 Firefox/130", "/"), nil)
  t:equal(status(t, "notbadbots", "/"), nil)
end)

rsp.test("scanners find nothing", function(t)
  for _, path in ipairs { "/wp-login.PHP", "/.git/config", "/.git", "/config/.env" } do
    t:equal(status(t, "x", path), 404, path)
  end
  t:equal(status(t, "x", "/php"), nil)
end)

rsp.test("our own networks may do all", function(t)
  t:equal(status(t, "BadBot", "/.git/config", "10.1.2.3"), nil)
end)
