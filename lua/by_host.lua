-- A pool for each host name:
--   rsp.on_request(require "rsp.by_host" { ["example.com"] = web, ["*.example.com"] = apps, default = web })
-- A name goes before a wildcard, a longer wildcard before a shorter one. Without `default`, others get a 404.
return function(hosts)
  local pools = {}
  for host, pool in pairs(hosts) do
    if type(host) ~= "string" or host:find("[:/]") then
      error("by_host: " .. tostring(host) .. ": expected a host name without port, as in \"example.com\"", 2)
    end
    pools[host:lower()] = pool
  end
  local other = pools.default
  pools.default = nil

  return function(req)
    local host = req.host or ""
    local pool = pools[host]
    while not pool and host do
      host = host:match("^[^.]*%.(.+)$")
      pool = host and pools["*." .. host]
    end
    return pool or other or rsp.respond { status = 404, body = "There is no site of this name here.\n" }
  end
end
