-- rsp examples/unix_socket.lua
--
-- An application that listens on a unix socket, as gunicorn, puma and many others can:
--
--   gunicorn -b unix:/tmp/app.sock app:app
--
-- The socket must be readable and writable for the user that rsp runs as; "permission denied" in rsp's log means
-- that it is not.

rsp.listen "127.0.0.1:8080"

rsp.pool {
  name = "app",
  servers = { "unix:/tmp/app.sock" },
}
