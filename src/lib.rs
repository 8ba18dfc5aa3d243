//! rsp: an L7 load balancer, configured by one Lua file.
//!
//! # The map
//!
//! Lower floors never import upper ones; neighbours on a floor meet only on floors 5 and 6 (`tests/tidy` holds
//! this).
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 6 | [`cli`] | one file a command: arguments → command → exit code; `help` prints the manual, `src/manual` |
//! | 6 | [`control`] | the control thread: config load, signals, log writing; never in the data path |
//! | 5 | [`worker`] | the event loop, the only code that sees sockets and protocol together |
//! | 5 | [`route`] | request head + pool state + clock → decision; no sockets |
//! | 4 | [`exchange`] | one request and its response, pure: the pair, rewrite, failure, answer, record |
//! | 4 | [`balance`] | which server: pools, servers, idle connections; no sockets |
//! | 4 | [`script`] | Lua: sandbox, budgets, `req` and `res`; `ffi` is its C API |
//! | 3 | [`net`] | the kernel: listeners and connections behind two small traits |
//! | 3 | [`h1`] | HTTP/1 wire format, sans-IO: heads, framing, bodies, chunks |
//! | 3 | [`proxy`] | the PROXY protocol, sans-IO: who a connection is made for |
//! | 2 | [`http`] | words every protocol shares: heads, fields, events, faults |
//! | 2 | [`config`] | what the operator said, typed and checked |
//! | 1 | [`base`] | buffers and their blocks, the timer wheel, the batch queue, the small change; `std` only |
//!
//! ```text
//!  bytes            plain bytes          events               events            plain bytes      bytes
//! socket ─ Transport ─► input ─ Codec ─► (StreamId, Event) ─ Exchange ─► Codec ─► output ─ Transport ─► socket
//!  client            buffer                              rewrite             buffer               backend
//! ```
//!
//! # The walk of one request
//!
//! 1. `worker::event_loop` waits in epoll, reads the clock once, and marks what is ready.
//! 2. `worker::core` gives the client its turn; `worker::start` reads, and `h1::ClientCodec::decode` finds a head.
//! 3. `exchange::rewrite` takes what belongs to one hop, writes the forwarding fields and the id.
//! 4. `route::Router::decide` asks the script (`script`) for a pool, a server or an answer.
//! 5. `worker::dial` picks a server (`balance`), takes an idle connection or makes one, and
//!    `h1::BackendCodec::encode_head` writes the head into the backend's output.
//! 6. `worker::pump` moves the pair: body to the server, response to the client, in both directions as far as
//!    sockets and room allow; `exchange::pair` says what a response head or a failure means.
//! 7. `worker::finish` gives the backend back, leaves an `exchange::record` in the batch for the log thread, and
//!    the client's next request begins at 2.
//!
//! What goes wrong on the way is an `exchange::Failure`; `worker::finish` tries again, answers or cuts.
//! `worker::deadlines` derives from the state how long anybody may wait.

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod exchange;
pub mod h1;
pub mod http;
pub mod net;
pub mod proxy;
pub mod route;
pub mod script;
pub mod worker;
