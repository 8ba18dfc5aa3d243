-- rsp examples/gunicorn.lua
--
-- Two gunicorn processes of one application, each with one sync worker, that answer one request at a time:
--
--   gunicorn -b 127.0.0.1:9001 app:app
--   gunicorn -b 127.0.0.1:9002 app:app
--
-- A slow page must not make others wait behind it, so the less busy process gets the next request. rsp takes slow
-- clients off gunicorn's hands: gunicorn is asked when an upload is whole, and free as soon as rsp has read its answer.

rsp.listen "127.0.0.1:8000" -- "0.0.0.0:80" to serve the network

rsp.pool {
  name = "app",
  servers = {
    { "127.0.0.1:9001", name = "app1" },
    { "127.0.0.1:9002", name = "app2" },
  },
  buffer_request = "1m", -- larger uploads stream; no more memory for all of this than buffer_memory, 256m
  buffer_response = "4m", -- of a larger answer the last 4 MiB
  balance = "least_connections", -- the same with a limit and a queue: examples/queue.lua
  -- gunicorn kills a worker after 30 s (--timeout 30); a little more here, so that its reason is the one logged.
  timeouts = { response = "35s" },
}
