-- The config behind `rsp --listen ADDR --backend ADDR…`: the addresses of the command line come in as the
-- arguments of this file. Copy it, write your own addresses in, and it is a config file to start from.
local listens, backends = ...

for _, address in ipairs(listens) do
  rsp.listen(address)
end

rsp.pool { servers = backends, balance = require "rsp.round_robin" () }
