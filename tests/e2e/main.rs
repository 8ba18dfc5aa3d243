//! End-to-end tests: the real process, with clients and origins of the tests' own on both sides, and no other
//! program. One file a subject, all in one binary, since linking takes the time.
//!
//! The tests run in parallel in this process, so none may change shared state: environment, working directory,
//! limits. Tests that must run alone are in `tests/alone`.

#[path = "../corpus/case.rs"]
mod case;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod command_line;
mod corpus;
mod cut_responses;
mod early_answers;
mod examples;
mod greedy;
mod headers;
mod help;
mod hops;
mod keep_alive;
mod leaving;
mod logs;
mod lua;
mod lua_balance;
mod lua_heads;
mod manual;
mod manual_tables;
mod policies;
mod proxy_protocol;
mod proxying;
mod refusals;
mod retries;
mod send_proxy;
mod signals;
mod sloppy_servers;
mod sockets;
mod support_itself;
mod timeouts;
mod trusted;
mod upgrade;
mod warnings;
mod websocket;
mod workers;
