//! `rsp --help`: commands, signals, exit codes; what a person wants to know without opening the README.

use super::{Exit, say};

const HELP: &str = "\
rsp: an L7 load balancer configured by one Lua file

usage:
  rsp CONFIG.lua                            run (also: rsp run CONFIG.lua)
  rsp --listen ADDR --backend ADDR …        run without a file, round robin; both may be repeated
  rsp demo [--listen ADDR]                  three built-in servers to try it on, no config needed
  rsp check CONFIG.lua                      check a config and say what is wrong (also: -t)
  rsp types                                 print the type definitions for Lua editors
  rsp -v | -V                               version | with build details
  rsp --help                                this text

Addresses are 127.0.0.1:8080, [::1]:8080 or unix:/path.
rsp runs in the foreground. Its log goes to stderr; RSP_LOG=debug (or warn, error …) sets the level.

signals:
  TERM INT QUIT   finish what runs, up to drain_timeout, then exit 0; at once when repeated
  USR1            reopen the access log
  HUP             ignored: rsp cannot reload yet; run rsp check, then restart
  USR2            ignored: rsp cannot hand over to a new binary yet

exit codes:
  0   fine
  1   bad config, failed check, or an address that cannot be listened on
  2   bad usage
  70  internal fault
";

pub fn run() -> Exit {
    say(HELP)
}
