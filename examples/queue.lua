-- rsp examples/queue.lua
--
-- Two gunicorn processes with two sync workers each, that can answer two requests at one time:
--
--   gunicorn -w 2 -b 127.0.0.1:9001 app:app
--   gunicorn -w 2 -b 127.0.0.1:9002 app:app
--
-- More requests wait in rsp, in the order in which they came, where a client that leaves takes its request with it. In
-- gunicorn's own backlog they would wait out of order, and be worked on for nobody.

rsp.listen "127.0.0.1:8000"

rsp.pool {
  name = "app",
  servers = {
    { "127.0.0.1:9001", name = "app1", max_connections = 2 },
    { "127.0.0.1:9002", name = "app2", max_connections = 2 },
  },
  balance = "least_connections",
  queue = { most = 100, timeout = "10s" }, -- one more, or later: 503 with Retry-After
}

-- queue= is how long a request waited: alarm on it before clients see 503.
rsp.settings { access_log = { "-", format = "rsp" } }
