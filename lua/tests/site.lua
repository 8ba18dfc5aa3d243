-- The policies of lua/ in one config, for their tests: rsp test lua/tests/site.lua

rsp.listen "127.0.0.1:8080"

local function servers()
  return {
    { "127.0.0.1:8081", name = "a" },
    { "127.0.0.1:8082", name = "b" },
    { "127.0.0.1:8083", name = "c" },
  }
end

local turns = rsp.pool { name = "turns", servers = servers(), balance = require "rsp.round_robin" () }
local busy = rsp.pool { name = "busy", servers = servers(), balance = require "rsp.least_busy" () }

rsp.on_request(require "rsp.by_host" {
  ["turns.example"] = turns,
  ["*.example"] = busy,
  ["*.turns.example"] = turns,
})
