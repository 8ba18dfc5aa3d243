-- rsp examples/health.lua
--
-- Two servers and a spare one; the page /up says whether a server is well. Restart a server, or stop it: no request
-- fails. rsp's log says who is out, and why. Try, with anything that serves HTTP on 8081 to 8083:
--
--   for i in $(seq 600); do curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/; sleep 0.1; done | uniq -c

rsp.listen "127.0.0.1:8080"

rsp.pool {
  name = "web",
  servers = {
    { "127.0.0.1:8081", name = "web1" },
    { "127.0.0.1:8082", name = "web2" },
    { "127.0.0.1:8083", name = "spare", backup = true }, -- only while neither of the others is up
  },
  balance = "least_connections",

  -- Asked every two seconds. A server that shuts down answers /up with 503 first, and goes when it has no work left.
  health = { path = "/up", status = "200-299" },

  -- Between two checks, real requests show it: three failures in a row, or half of the last ten seconds' requests.
  eject = { error_rate = 0.5, status = "500-599" },

  -- Back from down or ejected: its caches are cold, so its share grows over this time.
  slow_start = "20s",

  -- A server that hangs is a failure after ten seconds, not after sixty.
  timeouts = { connect = "1s", response = "10s" },
}

rsp.settings { access_log = { "-", format = "rsp" } } -- left=web1:server-refused: what a request went through
