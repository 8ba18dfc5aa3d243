-- /etc/rsp/site.lua
--
-- An example until you change it: a web server on port 8081 of this machine, served on port 8080, to this machine only.
--
--   rsp check /etc/rsp/site.lua             says whether the file is right
--   systemctl enable --now rsp.service      starts rsp, now and with the machine
--   systemctl reload rsp.service            uses the file as it is now, after a change
--
-- Every key is in rsp-configuration(7), which `rsp help configuration` prints, too. More to start from is in
-- /usr/share/doc/rsp/examples.

rsp.listen "127.0.0.1:8080"                   -- "0.0.0.0:80" for everybody

rsp.pool { name = "web", servers = { "127.0.0.1:8081" } }

rsp.settings {
  control = "/run/rsp/control.sock",          -- by which the reload is asked for
  access_log = "/var/log/rsp/access.log",     -- rotated by /etc/logrotate.d/rsp
}
