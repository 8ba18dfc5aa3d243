//! Support for the end-to-end tests: a running rsp, origins that misbehave on demand, clients that read slowly, and
//! real programs.
//!
//! Everything binds a port chosen by the kernel, has its own directory, ends when dropped, and waits by polling until
//! a deadline that only guards against hanging.

#![allow(dead_code, unused_imports, reason = "each binary compiles this for itself and uses a part of it")]

mod bodies;
mod client;
mod content;
mod directory;
mod hurtful;
mod manager;
mod message;
mod name_server;
mod origin;
mod proc;
mod programs;
mod rsp;
mod tls;
mod trace;
mod wait;
mod web;
mod wire;

pub use bodies::{Uploads, bodies};
pub use client::{Client, get};
pub use content::{Content, content_bytes, content_hash, hash_of, hex};
pub use directory::Directory;
pub use hurtful::{HURTFUL, WAITING, hurtful_config};
pub use manager::{Manager, with_sockets};
pub use message::{Framing, Head, Message, request_framing, response_framing};
pub use name_server::{Mood, NameServer, Record};
pub use origin::{FullListener, FullSocket, Origin, RefusingAddress, Visit};
pub use proc::{
    children, cpu_time, descriptors, leave_descriptors, limit_descriptors, make_pipe, memory_kib,
    send_signal, settled_memory_kib, threads, with_descriptors,
};
pub use programs::{Haproxy, Nginx, Program, Varnish, find, free_port, have, skip};
pub use rsp::{Finished, Rsp, balanced, on_any_port, rsp_command, run, run_with_input};
pub use tls::{Authority, Pair, TlsClient, secured, server_side, tls_origin};
pub use trace::{Call, Traced, can_trace, counts, waits};
pub use wait::{DEADLINE, Gate, until, within};
pub use web::{Slow, logged, logged_so_far, targets, value, web, web_in, web_of, web_with};
pub use wire::Wire;
