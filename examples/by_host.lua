-- rsp examples/by_host.lua
--
-- Several sites on one address, told apart by the Host header. Try:
--
--   curl http://127.0.0.1:8080/                             goes to web
--   curl -H 'Host: api.example.com' http://127.0.0.1:8080/  goes to api

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081", "127.0.0.1:8082" } }
local api = rsp.pool { name = "api", servers = { "127.0.0.1:8083" }, timeouts = { response = "10s" } }

-- The ready-made policy is a table from host (lower case, no port) to pool. It is 20 lines of Lua: lua/by_host.lua.
rsp.on_request(require "rsp.by_host" {
  ["api.example.com"] = api,
  default = web,
})

-- Many sites may be more than one core can serve: a worker on each (without this there is one).
rsp.settings { workers = "auto" }
