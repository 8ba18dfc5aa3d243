-- rsp examples/jwt.lua
--
-- Lets only requests through that carry a JSON Web Token signed with a secret (HS256), and tells the servers whose it
-- is. The token is https://jwt.io's, with "secret" as the secret:
--
--   curl -i http://127.0.0.1:8080/    401
--   curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/

rsp.listen "127.0.0.1:8080"

local web = rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

local SECRET = "secret"

-- What the token claims, or nil and why it is not believed.
local function claims(token)
  local head, body, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  if not head then return nil, "no token" end
  local signed = rsp.base64.decode(signature)
  local code = rsp.hmac_sha256(SECRET, head .. "." .. body)
  if not signed or not rsp.equal(rsp.hex.encode(signed), code) then return nil, "wrong signature" end
  local kind = rsp.json.decode(rsp.base64.decode(head) or "")
  if type(kind) ~= "table" or kind.alg ~= "HS256" then return nil, "wrong algorithm" end
  local claimed = rsp.json.decode(rsp.base64.decode(body) or "")
  if type(claimed) ~= "table" then return nil, "no claims" end
  local ends = claimed.exp
  if ends and (type(ends) ~= "number" or ends <= rsp.now()) then return nil, "expired" end
  return claimed
end

rsp.on_request(function(req)
  local token = (req.headers["Authorization"] or ""):match("^Bearer ([%w._-]+)$")
  local claimed, why = claims(token or "")
  if not claimed then
    local challenge = ('Bearer error="invalid_token", error_description="%s"'):format(why)
    return rsp.respond { status = 401, headers = { ["WWW-Authenticate"] = challenge } }
  end
  req.headers["X-User"] = type(claimed.sub) == "string" and claimed.sub:match("^[%w._@-]+$") or nil
  return web
end)
