-- What rsp runs with in the simulation. Ports 1 to 3 are the servers' numbers.
local web = rsp.pool { servers = { "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3" } }
rsp.listen "127.0.0.1:80"
rsp.on_response(function(req, res) res.headers["X-Seen"] = req.method end)
