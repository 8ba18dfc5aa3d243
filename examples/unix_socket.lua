-- rsp examples/unix_socket.lua
--
-- An application that listens on a unix socket, as gunicorn, puma, php-fpm's HTTP front ends and many others can:
--
--   gunicorn -b unix:/tmp/app.sock app:app
--
-- The socket must be readable and writable for the user that rsp runs as; "permission denied" in rsp's log means
-- that it is not. Without a Host from the client (HTTP/1.0) the application is told the socket's path as Host.

rsp.listen "127.0.0.1:8080"

rsp.pool {
  name = "app",
  servers = { "unix:/tmp/app.sock" },
}
