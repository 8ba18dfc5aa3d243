-- rsp examples/cors.lua
--
-- Cross-origin requests: rsp answers the preflight itself, and adds the headers for origins that may read the
-- responses. Try:
--
--   curl -i -X OPTIONS -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT' \
--     http://127.0.0.1:8080/                                                    204
--   curl -i -H 'Origin: https://app.example.com' http://127.0.0.1:8080/         Access-Control-Allow-Origin

rsp.listen "127.0.0.1:8080"

local api = rsp.pool { name = "api", servers = { "127.0.0.1:8081" } }

local ORIGINS = { ["https://app.example.com"] = true, ["https://admin.example.com"] = true }

rsp.on_request(function(req)
  local origin = req.headers["Origin"]
  local is_preflight = req.method == "OPTIONS" and req.headers["Access-Control-Request-Method"]
  if not (origin and is_preflight) then return api end
  if not ORIGINS[origin] then return rsp.respond { status = 403, headers = { Vary = "Origin" } } end
  return rsp.respond { status = 204, headers = {
    ["Access-Control-Allow-Origin"] = origin,
    ["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE",
    ["Access-Control-Allow-Headers"] = "Authorization, Content-Type",
    ["Access-Control-Max-Age"] = "86400",
    ["Vary"] = "Origin",
  } }
end)

rsp.on_response(function(req, res)
  local origin = req.headers["Origin"]
  if origin and ORIGINS[origin] then
    res.headers["Access-Control-Allow-Origin"] = origin
    res.headers["Access-Control-Allow-Credentials"] = "true"
  end
  res.headers:add("Vary", "Origin") -- caches must not give one origin's response to another
end)
