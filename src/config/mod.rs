//! Floor 2: what the operator said, typed and checked. Nothing is left to interpret here: addresses are
//! resolved, times are durations, pools are indices. The script floor builds it; everything else reads it.

mod address;
mod endpoint;
pub mod later;
mod per_client;
mod sockets;
mod timeouts;
mod trusted;

pub use address::Address;
pub use endpoint::Endpoint;
pub use per_client::PerClient;
pub use sockets::{BACKLOG, SocketOptions};
pub use timeouts::{PoolTimeouts, Timeouts};
pub use trusted::Trusted;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Below this, two more system calls cost more than a copy saves.
pub const SPLICE_FROM: u64 = 64 * 1024;

/// Index of a pool in `Config::pools`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PoolId(pub u32);

/// Index of a server in `Pool::servers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct ServerId(pub u32);

/// A whole configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub listeners: Vec<ListenerConfig>,
    pub pools: Vec<Arc<PoolConfig>>,
    pub settings: Settings,
    /// The three globals of the original program were used instead of `rsp.*`; holds `listenPort` as written.
    pub classic: Option<String>,
    /// The script set `rsp.on_request`.
    pub on_request: bool,
    /// The script set `rsp.on_response`.
    pub on_response: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerConfig {
    pub address: Address,
    /// Every connection begins with a PROXY header; only trusted addresses may connect.
    pub proxy_protocol: bool,
    /// Connections that may wait in the kernel for being accepted.
    pub backlog: u32,
    /// A connection is accepted when its first bytes are there.
    pub defer_accept: bool,
    pub sockets: SocketOptions,
}

impl ListenerConfig {
    /// One of which nothing but its address was said.
    pub fn at(address: Address) -> ListenerConfig {
        ListenerConfig {
            address,
            proxy_protocol: false,
            backlog: BACKLOG,
            defer_accept: false,
            sockets: SocketOptions::default(),
        }
    }
}

/// Which form of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// A binary block.
    V2,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PoolConfig {
    pub name: String,
    pub servers: Vec<ServerConfig>,
    pub balance: Balance,
    /// Connections to these servers begin with a PROXY header that tells the client's address.
    pub send_proxy: Option<ProxyVersion>,
    /// A client that ends its side while it waits for a response has left: its request is given up.
    pub abort_on_close: bool,
    /// Its servers are forgiven nothing that their responses have wrong.
    pub strict: bool,
    /// Of the TCP connections to its servers.
    pub sockets: SocketOptions,
    /// Trailers of requests go on to these servers.
    pub trailers: bool,
    pub timeouts: PoolTimeouts,
}

impl PoolConfig {
    /// One without servers of which nothing else was said.
    pub fn named(name: String, balance: Balance) -> PoolConfig {
        PoolConfig {
            name,
            servers: Vec::new(),
            balance,
            send_proxy: None,
            abort_on_close: false,
            strict: false,
            sockets: SocketOptions::default(),
            trailers: false,
            timeouts: PoolTimeouts::default(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// As given, or the address as written.
    pub name: String,
    pub address: Address,
    /// The address as written in the config: log lines, and `Host` where the client sent none.
    pub written: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    RoundRobin,
    /// The Lua function given for this pool.
    Function,
}

/// How many threads serve, each with its own event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    Number(usize),
    /// As many as the process may use cores.
    Auto,
}

impl Workers {
    pub const MOST: usize = 256;
}

/// What the client gets when `on_response` failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnResponseError {
    /// A 500 of rsp's own.
    Answer,
    /// The server's response, as if there were no handler.
    Pass,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub workers: Workers,
    /// Connections of clients at one time.
    pub max_connections: usize,
    /// The operator said so: to have to lower it is worth a warning.
    pub max_connections_is_set: bool,
    /// Of one client's address.
    pub per_client: PerClient,
    /// Bytes of a request's body at most.
    pub max_body: Option<u64>,
    /// Bytes of a request's head at most, and fields in it; a response may have twice as many.
    pub max_head: u32,
    pub max_fields: u32,
    /// Bytes a second that a client has to send of a request's body, on average over `timeouts.rate`; 0 for none.
    pub min_request_rate: u64,
    /// Bytes a second that it has to take of a response, over `timeouts.rate` or `timeouts.write`, whichever is
    /// longer; 0 for none.
    pub min_response_rate: u64,
    pub access_log: Option<AccessLog>,
    /// Whose forwarding headers and PROXY headers are believed.
    pub trusted: Trusted,
    /// Where requests go whose script failed.
    pub fallback: Option<PoolId>,
    pub drain_timeout: Duration,
    /// What becomes of a response for which `on_response` failed.
    pub on_response_error: OnResponseError,
    /// Pseudonym for `Via`; none is added without it.
    pub via: Option<String>,
    /// Protocols, in lower case, that a client may switch to with `Upgrade`.
    pub upgrades: Vec<String>,
    /// Bodies with at least so many bytes left go through pipes; `None`: none does.
    pub splice: Option<u64>,
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workers: Workers::Number(1),
            max_connections: 10_000,
            max_connections_is_set: false,
            per_client: PerClient::default(),
            max_body: None,
            max_head: 16 << 10,
            max_fields: 100,
            min_request_rate: 100,
            min_response_rate: 50,
            access_log: None,
            trusted: Trusted::default(),
            fallback: None,
            drain_timeout: Duration::from_secs(30),
            on_response_error: OnResponseError::Answer,
            via: None,
            upgrades: vec!["websocket".into()],
            splice: Some(SPLICE_FROM),
            timeouts: Timeouts::default(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    pub target: LogTarget,
    pub format: LogFormat,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Apache's and nginx's combined log format, exactly.
    Combined,
    /// Ours: adds pool, server, times and the reason of the end.
    Rsp,
}
