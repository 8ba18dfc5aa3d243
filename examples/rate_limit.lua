-- rsp examples/rate_limit.lua
--
-- An API in which every key may make 100 requests a minute, 20 of them at once; requests without a key share the limit
-- of their address. All workers count together, and a reload forgets nothing. Try:
--
--   curl -i -H 'X-Api-Key: k1' http://127.0.0.1:8080/    RateLimit says what is left
--   for i in $(seq 30); do curl -s -o /dev/null -w '%{http_code} ' -H 'X-Api-Key: k1' http://127.0.0.1:8080/; done
--
-- With dry_run = true nothing is refused, and rsp_limit_refused_total of /metrics says what would have been.

rsp.listen "127.0.0.1:8080"

local api = rsp.pool { name = "api", servers = { "127.0.0.1:8081" } }
local limit = rsp.rate { name = "api", rate = 100, per = "1m", burst = 20 }

local function key(req)
  local sent = req.headers["X-Api-Key"]
  return sent and "key " .. rsp.sha256(sent) or "address " .. req.client_ip -- a hash: keys may be long, limits' not
end

rsp.on_request(function(req)
  if limit:allow(key(req)) then return api end
  local answer = { status = 429, headers = { ["Content-Type"] = "text/plain" }, body = "too many requests\n" }
  limit:headers(answer, key(req)) -- RateLimit and Retry-After
  return rsp.respond(answer)
end)

rsp.on_response(function(req, res) limit:headers(res, key(req)) end)
