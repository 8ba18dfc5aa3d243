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
//! | 6 | [`control`] | the control thread: config load, signals, log writing, names of servers; never in the data path |
//! | 6 | [`offline`] | a site without sockets, on a clock of its own: `rsp test` and `rsp replay` |
//! | 5 | [`worker`] | the event loop, the only code that sees sockets and protocol together; its `mod.rs` is a map |
//! | 5 | [`route`] | request head + pools + clock → decision, and which server; no sockets |
//! | 4 | [`exchange`] | one request and its response, pure: state, rewrite, failure, retry, answer, record |
//! | 4 | [`balance`] | servers as objects of the process, pools, idle connections; no sockets |
//! | 4 | [`script`] | Lua: sandbox, budgets, `req` and `res`; `ffi` is its C API |
//! | 3 | [`net`] | the kernel: listeners and connections behind two small traits; mailboxes |
//! | 3 | [`h1`] | HTTP/1 wire format, sans-IO: heads, framing, bodies, chunks |
//! | 3 | [`proxy`] | the PROXY protocol, sans-IO: who a connection is made for |
//! | 3 | [`websocket`] | where the frames of a WebSocket end, sans-IO |
//! | 2 | [`http`] | what every protocol shares: heads, fields, events, faults, the contract of codecs |
//! | 2 | [`config`] | what the operator said, typed and checked |
//! | 2 | [`store`] | what scripts share between workers, and what they look up: tables, limits, maps |
//! | 1 | [`tls`] | TLS without sockets: certificates, tickets, what rustls is told |
//! | 1 | [`base`] | buffers and their blocks, the timer wheel, the batch queue, small helpers; `std` only |
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
//! 2. `worker::core` gives the client its turn (`worker::turn`); `worker::pair::request` reads, and
//!    `h1::ClientCodec` decodes a head into a `worker::pair::Pair`, which holds the current `worker::site`.
//! 3. `route::admit` decides what becomes of it: who the client is (`exchange::forwarded`), fields of one hop, forwarding
//!    fields and the id (`exchange::rewrite`), the script (`script`), what goes no further (`exchange::forward_rules`).
//! 4. Where nothing limits the choice, `route::Route::pick_any` has a server at once; otherwise `worker::backend::dial`
//!    asks `route::pick` for one. `dial` takes an idle connection or makes one, and `h1::BackendCodec` writes the head into
//!    the backend's output.
//! 5. `worker::pair::pump` moves the pair's bytes, `to_server` and `to_client`, as far as sockets and room allow;
//!    `exchange::state` says what a response head means.
//! 6. `worker::pair::finish` ends it: `worker::backend::release` keeps or closes the connection to the server,
//!    `worker::pair::access_record` leaves a record for the log thread, and the client's next request begins at 2.
//!
//! What goes wrong on the way is an `exchange::Failure`; `exchange::retry` says whether to try again, answer or cut, and
//! `worker::pair::finish` does it. `worker::time::deadlines` derives from the state how long anybody may wait. A client's
//! connection begins in `worker::accept`, which reserves a connection permit (`worker::shared::permits`), and ends in
//! `worker::conn`.
//!
//! A config is loaded by `script::load`, off the workers' threads; workers run it as a `worker::site`, and may run two
//! side by side while one takes the place of the other.
//!
//! # Beside that walk
//!
//! | what | where |
//! |---|---|
//! | requests that no client sent | `worker::pair::inside`: the same way, without a client |
//! | health checks | `worker::backend::checks` |
//! | a second try while the first goes on (`hedge`) | `worker::pair::hedge`; when: `balance` (`hedges.rs`) |
//! | copies for another pool (`mirror`) | `worker::pair::mirror` |
//! | bodies without a copy (`splice`) | `worker::pair::splice` |
//! | bodies in memory (`buffer_request`, `buffer_response`) | `worker::pair`: `request_body_buffer`, `response_buffer` |
//! | handlers that wait | `worker::pair::waiting`, `worker::waits` |
//! | requests that wait for a server | `worker::backend::queue` |
//! | reloads | `control::reload`; in a worker: `worker::site` |
//! | time for TLS handshakes | `worker::accept::handshake`; until when: `worker::time::deadlines` |

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod exchange;
pub mod h1;
pub mod http;
pub mod net;
pub mod offline;
pub mod proxy;
pub mod route;
pub mod script;
pub mod store;
pub mod tls;
pub mod websocket;
pub mod worker;
