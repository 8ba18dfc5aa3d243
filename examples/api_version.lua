-- rsp examples/api_version.lua
--
-- Versions of an API by a header, each with servers of its own; without the header it is the oldest one that is still
-- served, and a version that does not exist is an error in JSON. Try:
--
--   curl http://127.0.0.1:8080/                              version 1
--   curl -H 'Api-Version: 2' http://127.0.0.1:8080/          version 2
--   curl -i -H 'Api-Version: 3' http://127.0.0.1:8080/       406

rsp.listen "127.0.0.1:8080"

local versions = {
  ["1"] = rsp.pool { name = "api-1", servers = { "127.0.0.1:8081" } },
  ["2"] = rsp.pool { name = "api-2", servers = { "127.0.0.1:8082" } },
}

rsp.on_request(function(req)
  local wanted = req.headers["Api-Version"] or "1"
  local pool = versions[wanted]
  if pool then return pool end
  local known = rsp.json.array { "1", "2" }
  local body = rsp.json.encode { error = "unknown version", versions = known }
  return rsp.respond { status = 406, headers = { ["Content-Type"] = "application/json" }, body = body }
end)

rsp.on_response(function(req, res) res.headers:add("Vary", "Api-Version") end)
