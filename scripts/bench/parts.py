"""What a scenario turns on besides passing requests on, and how rsp, haproxy and nginx say it: side by side, so that
one can see that each does the same work. A scenario names its parts (`parts` in scenarios.py):

`bare` no function of a script at all (rsp runs a trivial one otherwise), `script` a host test, a path test and a header
set in Lua, `rate` a limit on the requests of a client that never refuses any here, `auth` another server is asked about
each request, `metrics` an address that tells them, `json` an access log of JSON lines in a file, `checks` of the servers'
health, `least` the server with the fewest requests is taken.
"""

PARTS = ("bare", "script", "rate", "auth", "metrics", "json", "checks", "least")
RATE = 1_000_000  # requests a second of one client
AUTH_PATH = "/check"
SEEN_PATH = "/seen"  # the origins answer what the script and the other server added to a request

TESTS = """  if req.host == "api.example.com" then return api end
  if req.path:sub(1, 8) == "/static/" then return static end
"""
HEADER = '  req.headers["X-Edge"] = "edge1"\n'
LIMIT = "  if not limit:allow(req.client_ip) then return rsp.respond { status = 429 } end\n"
# As examples/external_auth.lua, of every request.
AUTH = f"""  req.headers["X-User"] = nil
  local answer = rsp.fetch {{
    pool = auth, path = "{AUTH_PATH}", timeout = "2s",
    headers = {{
      Authorization = req.headers["Authorization"] or "",
      Cookie = req.headers["Cookie"] or "",
      ["X-Original-URI"] = req.target,
      ["X-Original-Method"] = req.method,
    }},
  }}
  if not answer then return rsp.respond {{ status = 503 }} end
  if answer.status ~= 200 then return rsp.respond {{ status = answer.status, body = answer.body }} end
  req.headers["X-User"] = answer.headers["X-User"]
"""


def seen(scenario):
    """What an origin has to answer at SEEN_PATH, where the parts do what they should."""
    return f"{'edge1' if scenario.has('script') else ''} {'alice' if scenario.has('auth') else ''}\n"


def rsp_pool(scenario, name, check_every):
    more = ', balance = "least_connections"' if scenario.has("least") else ""
    more += ', buffer_request = "16m", buffer_response = "16m"' if scenario.kind == "slow" else ""
    more += f', health = {{ path = "/", interval = "{check_every}" }}' if scenario.has("checks") else ""
    return f'local {name} = rsp.pool {{ name = "{name}", servers = servers{more} }}\n'


def rsp_script(scenario):
    if scenario.has("bare"):
        return ""
    text = f'local limit = rsp.rate {{ name = "clients", rate = {RATE} }}\n' if scenario.has("rate") else ""
    text += "rsp.on_request(function(req)\n"
    text += LIMIT if scenario.has("rate") else ""
    text += AUTH if scenario.has("auth") else ""
    text += TESTS if scenario.chooses else ""
    text += HEADER if scenario.has("script") else ""
    return text + "  return web\nend)\n"


def rsp_settings(scenario, log, admin):
    """The settings in Lua; `log` is the path without its ending, `admin` a free port."""
    words = []
    if scenario.log or scenario.has("json"):
        words += [f'access_log = {{ path = "{log}.log", format = "{"json" if scenario.has("json") else "combined"}" }}']
    if scenario.has("metrics"):
        words += [f'admin = "127.0.0.1:{admin}"', "metrics = { hosts = 20 }"]
    words += [f"workers = {scenario.workers}"] if scenario.workers > 1 else []
    return f"rsp.settings {{ {', '.join(words)} }}\n" if words else ""


# ---- haproxy

HAPROXY_RULE = """core.register_fetches("pool", function(txn)
  local host = txn.sf:req_hdr("host"):lower():match("^[^:]*")
  local path = txn.sf:path()
  if host == "api.example.com" then return "api" end
  if path:sub(1, 8) == "/static/" then return "static" end
  return "web"
end)
"""
HAPROXY_SCRIPT = """local function pool(txn)
  local host = txn.sf:req_hdr("host"):lower():match("^[^:]*")
  local path = txn.sf:path()
  if host == "api.example.com" then return "api" end
  if path:sub(1, 8) == "/static/" then return "static" end
  txn.http:req_set_header("X-Edge", "edge1")
  return "web"
end
core.register_action("rule", { "http-req" }, function(txn) txn:set_var("txn.pool", pool(txn)) end)
"""
# haproxy writes no files: its log goes to its standard output, which is a file here.
HAPROXY_CAPTURE = """  log stdout format raw local0
  capture request header Referer len 128
  capture request header User-Agent len 128
"""
HAPROXY_LOG = HAPROXY_CAPTURE + """  log-format "%ci - - [%trl] %{+Q}r %ST %B %{+Q}[capture.req.hdr(0)] %{+Q}[capture.req.hdr(1)]"
"""
HAPROXY_JSON = HAPROXY_CAPTURE + """  capture request header Host len 128
  log-format '{"ts":"%tr","client_ip":"%ci","client_port":%cp,"listener":"%f","method":"%HM",\
"host":"%[capture.req.hdr(2),json(utf8s)]","target":"%[capture.req.uri,json(utf8s)]","version":"%HV","status":%ST,\
"sent":%B,"received":%U,"pool":"%b","server":"%s","retries":%rc,"queue_ms":%Tw,"connect_ms":%Tc,"first_byte_ms":%Tr,\
"total_ms":%Tt,"end":"%ts","referer":"%[capture.req.hdr(0),json(utf8s)]","user_agent":"%[capture.req.hdr(1),json(utf8s)]"}'
"""
HAPROXY_RATE = f"""  stick-table type ip size 100k expire 1m store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {RATE} }}
"""


def haproxy_lua(scenario):
    return HAPROXY_SCRIPT if scenario.has("script") else HAPROXY_RULE if scenario.rule else ""


def haproxy_front(scenario):
    """The lines of the frontend after `bind`."""
    text = HAPROXY_JSON if scenario.has("json") else HAPROXY_LOG if scenario.log else ""
    text += HAPROXY_RATE if scenario.has("rate") else ""
    if scenario.has("script"):
        return text + "  http-request lua.rule\n  use_backend %[var(txn.pool)]\n"
    return text + ("  use_backend %[lua.pool]\n" if scenario.rule else "  default_backend web\n")


def haproxy_metrics(admin):
    return f"frontend metrics\n  bind 127.0.0.1:{admin}\n  http-request use-service prometheus-exporter\n"


def haproxy_backend(scenario, name, servers, check_every):
    balance = "leastconn" if scenario.has("least") else "roundrobin"
    text = f"backend {name}\n  balance {balance}\n  http-reuse always\n"
    text += "  option httpchk GET /\n" if scenario.has("checks") else ""
    check = f" check inter {check_every}" if scenario.has("checks") else ""
    return text + "".join(f"  server s{i} {s}{check}\n" for i, s in enumerate(servers))


# ---- nginx, which checks no servers by itself

NGINX_RULE = """      set_by_lua_block $pool {
        local var = ngx.var
        if var.host == "api.example.com" then return "api" end
        if var.uri:sub(1, 8) == "/static/" then return "static" end
%s        return "web"
      }
"""
NGINX_HEADER = '        ngx.req.set_header("X-Edge", "edge1")\n'
NGINX_AUTH = """      auth_request /_auth;
      auth_request_set $user $upstream_http_x_user;
      proxy_set_header X-User $user;
"""
NGINX_AUTH_LOCATION = f"""    location = /_auth {{
      internal;
      proxy_pass http://auth{AUTH_PATH};
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-Method $request_method;
    }}
"""
NGINX_JSON = """  log_format lines escape=json '{"ts":"$time_iso8601","client_ip":"$remote_addr","client_port":$remote_port,\
"listener":"$server_port","method":"$request_method","scheme":"$scheme","host":"$host","target":"$request_uri",\
"version":"$server_protocol","status":$status,"sent":$body_bytes_sent,"received":"$content_length",\
"pool":"$proxy_host","server":"$upstream_addr","connect_s":"$upstream_connect_time",\
"first_byte_s":"$upstream_header_time","total_s":$request_time,"referer":"$http_referer","user_agent":"$http_user_agent"}';
"""
NGINX_ZONE = f"  limit_req_zone $binary_remote_addr zone=clients:10m rate={RATE}r/s;\n"
NGINX_RATE = f"""      limit_req zone=clients burst={RATE} nodelay;
      limit_req_status 429;
"""


def nginx_http(scenario, admin):
    """The lines before the upstreams."""
    text = NGINX_ZONE if scenario.has("rate") else ""
    if scenario.has("metrics"):
        text += f"  server {{ listen 127.0.0.1:{admin}; location = /metrics {{ access_log off; stub_status; }} }}\n"
    return text


def nginx_location(scenario):
    """The lines of the location before `proxy_pass`."""
    text = NGINX_RULE % (NGINX_HEADER if scenario.has("script") else "") if scenario.chooses else ""
    return text + (NGINX_RATE if scenario.has("rate") else "") + (NGINX_AUTH if scenario.has("auth") else "")
