//! End-to-end tests: the real process, with clients and origins of the tests' own on both sides, and no other
//! program. One file a subject, all in one binary, since linking takes the time.
//!
//! The tests run in parallel in this process, so none may change shared state: environment, working directory,
//! limits. Tests that must run alone are in `tests/alone`.

#[path = "../corpus/case.rs"]
mod case;
#[path = "../support/mod.rs"]
mod support;

mod acme;
mod answers;
mod balancing;
mod buffering;
mod check;
mod command_line;
mod control;
mod control_commands;
mod corpus;
mod cut_responses;
mod draining;
mod early_answers;
mod ejection;
mod examples;
mod examples_of_parts;
mod examples_of_scripts;
mod explain;
mod greedy;
mod handover;
mod headers;
mod health;
mod health_ways;
mod hedging;
mod held_requests;
mod help;
mod hops;
mod idle_connections;
mod keep_alive;
mod leaving;
mod log_formats;
mod logs;
mod lua;
mod lua_balance;
mod lua_heads;
mod lua_hurt;
mod lua_phases;
mod lua_rewriting;
mod manual;
mod manual_tables;
mod metrics;
mod mirroring;
mod names;
mod names_in_scripts;
mod pass_through;
mod pass_through_ends;
mod policies;
mod privileges;
mod proxy_protocol;
mod proxying;
mod queueing;
mod queueing_of_servers;
mod refusals;
mod reload;
mod retries;
mod retry_budget;
mod script_replay;
mod script_tests;
mod send_proxy;
mod shared_state;
mod signals;
mod sloppy_servers;
mod sockets;
mod sticky;
mod support_itself;
mod syslog;
mod systemd;
mod timeouts;
mod tls;
mod tls_integrity;
mod tls_servers;
mod tracing;
mod trusted;
mod upgrade;
mod waiting;
mod warnings;
mod websocket;
mod workers;
