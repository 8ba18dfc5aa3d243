-- rsp examples/api_version.lua
--
-- An API whose version is in a header: X-API-Version, or the media type in Accept. Each version runs on servers of its
-- own, which see the version as a prefix of the path. Try:
--
--   curl -s -H 'X-API-Version: 2' http://127.0.0.1:8080/users                          v2 gets /v2/users
--   curl -s -H 'Accept: application/vnd.example.v1+json' http://127.0.0.1:8080/users   v1 gets /v1/users
--   curl -si -H 'X-API-Version: 9' http://127.0.0.1:8080/users                         406: there is none

rsp.listen "127.0.0.1:8080"

local pools = {
  ["1"] = rsp.pool { name = "v1", servers = { "127.0.0.1:8081" } },
  ["2"] = rsp.pool { name = "v2", servers = { "127.0.0.1:8082" } },
}
local NEWEST = "2"

rsp.on_request(function(req)
  local accept = req.headers["Accept"] or ""
  local version = req.headers["X-API-Version"] or accept:match("^application/vnd%.example%.v(%d+)%+json") or NEWEST
  local pool = pools[version]
  if not pool then return rsp.respond { status = 406, body = "versions are 1 and 2\n" } end
  req.path = "/v" .. version .. req.path
  return pool
end)

rsp.on_response(function(_, res)
  res.headers:add("Vary", "X-API-Version, Accept")
end)
